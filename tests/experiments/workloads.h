// Workloads of the tests: made from the sections of a TOML text, and their requests with some figures of
// them.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "experiments/arrivals.h"
#include "experiments/experiment_parameters.h"
#include "experiments/lengths.h"
#include "experiments/workload.h"

namespace pagelab::test {

inline constexpr std::int64_t kVocabulary = 1000;

/// The workload of [lengths], [arrivals] and `requests` in a TOML text.
inline std::unique_ptr<Workload> workload(const std::string& toml, std::uint64_t seed = 1,
                                          const std::string& name = "w.toml") {
  const ConfigTable root = parse_config(toml, name);
  const Parameters own = root.resolve(workload_parameters(), workload_sections());
  WorkloadSpec spec;
  spec.requests = own.integer("requests");
  spec.duration = Seconds(own.real("duration_s"));
  spec.prefix = Tokens(own.integer("prefix_tokens"));
  spec.lengths = resolve_kind(root.section("lengths"), length_kinds(), "");
  spec.arrivals = resolve_kind(root.section("arrivals"), arrival_kinds(), "");
  const auto section = [&](const char* marks, const std::vector<ParameterSpec>& specs, auto resolve) {
    resolve(spec.marks, root.section(marks), root.section(marks).resolve(specs), "");
  };
  section("clients", client_parameters(), resolve_clients);
  section("priorities", priority_parameters(), resolve_priorities);
  section("deadlines", deadline_parameters(), resolve_deadlines);
  return make_workload(spec, seed, kVocabulary);
}

inline std::vector<Request> drain(Workload& workload) {
  std::vector<Request> requests;
  while (workload.next_arrival()) {
    EXPECT_TRUE(requests.empty() || requests.back().arrival <= *workload.next_arrival());
    requests.push_back(workload.take());
  }
  return requests;
}

inline std::vector<Request> requests(const std::string& toml, std::uint64_t seed = 1,
                                     const std::string& name = "w.toml") {
  const auto made = workload(toml, seed, name);
  std::vector<Request> all = drain(*made);
  EXPECT_EQ(made->total(), static_cast<std::int64_t>(all.size()));
  return all;
}

struct Moments {
  double mean = 0, cv = 0;
};
inline Moments moments(const std::vector<double>& values) {
  double sum = 0;
  double squares = 0;
  for (const double value : values) {
    sum += value;
    squares += value * value;
  }
  const double n = static_cast<double>(values.size());
  return {sum / n, std::sqrt(squares / n - sum * sum / (n * n)) / (sum / n)};
}

inline std::vector<double> prompts_of(const std::vector<Request>& all) {
  std::vector<double> out;
  for (const Request& request : all) {
    out.push_back(static_cast<double>(request.prompt.size()));
  }
  return out;
}
inline std::vector<double> outputs_of(const std::vector<Request>& all) {
  std::vector<double> out;
  for (const Request& request : all) {
    out.push_back(static_cast<double>(request.max_output.value()));
  }
  return out;
}

}  // namespace pagelab::test
