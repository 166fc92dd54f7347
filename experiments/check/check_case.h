// CheckCase: one workload with its pools and policies, small enough to be shrunk part by part, and the TOML
// experiment that it is. What is checked is always that experiment, so the text reproduces what was seen.
// Plain data; it owns nothing else.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/policy_registry.h"
#include "core/request.h"
#include "experiments/experiment.h"

namespace pagelab {

struct CheckedRequest {
  std::int64_t prompt = 1;     ///< tokens
  std::int64_t output = 1;     ///< tokens, of each sequence
  std::int64_t sequences = 1;  ///< parallel samples, or the beam width
  std::int64_t common = 0;     ///< so many first tokens of the prompt are its family's
  std::int64_t family = 0;
  std::int64_t client = 0;
  std::int64_t arrival_ms = 0;
};

/// The policy of one axis; parameters that are not named have their defaults.
struct CheckedPolicy {
  std::string axis;
  std::string name;
  std::vector<std::pair<std::string, ParameterValue>> parameters;
};

struct CheckCase {
  std::uint64_t seed = 1;  ///< of the experiment: prompts and draws
  std::int64_t block_size = 1;
  std::int64_t device_blocks = 1;
  std::int64_t host_blocks = 0;
  std::int64_t vocabulary = 1000;
  std::int64_t prefix = 0;  ///< tokens that all prompts begin with, declared as shared
  Sampling::Method method = Sampling::Method::greedy;
  std::optional<std::int64_t> eos;  ///< the token that ends a sequence early
  /// How many requests that come later may be answered before request 1 is; 0: any number.
  std::int64_t overtakers = 0;
  std::vector<CheckedRequest> requests;  ///< in order of arrival
  std::vector<CheckedPolicy> policies;   ///< one per axis, in the registry's order
};

/// The case as TOML, each line of `heading` a comment above it.
std::string case_toml(const CheckCase& tried, std::string_view heading = {},
                      std::span<const std::string> plugins = {});

/// The experiment that case_toml() says. Throws InputError.
Experiment experiment_of(const CheckCase& tried, const PolicyRegistry& registry);

}  // namespace pagelab
