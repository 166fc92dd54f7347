#include "experiments/check/draw_case.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/engine.h"
#include "core/error.h"
#include "experiments/workload.h"
#include "models/check_device.h"

namespace pagelab {

namespace {

constexpr std::int64_t most_blocks = 4096;  ///< of a pool, however much a policy sets aside
constexpr std::int64_t vocabulary = 64;     ///< small, so that the end-of-sequence token comes
constexpr std::int64_t stream_every = 250;  ///< one case of so many shows whether a request starves
constexpr std::int64_t stream_length = 1200;

std::int64_t between(RandomStream& random, std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(high - low + 1)));
}

bool one_in(RandomStream& random, std::uint64_t of) {
  return random.below(of) == 0;
}

/// Small offsets more often than large ones: a policy's limits are where it is tight.
double offset(RandomStream& random) {
  return std::exp2(random.uniform() * 9) - 1;
}

double lowest(const ParameterSpec& spec) {
  return spec.minimum ? *spec.minimum : spec.above ? *spec.above : 0;
}

ParameterValue draw_integer(const ParameterSpec& spec, RandomStream& random) {
  const double most = std::min(spec.maximum.value_or(1e9), 1e9);
  const double low = std::max(lowest(spec), -1e9);
  const double drawn = std::min(low + std::floor(offset(random)), most);
  return static_cast<std::int64_t>(drawn);
}

ParameterValue draw_real(const ParameterSpec& spec, RandomStream& random) {
  const double low = lowest(spec);
  if (spec.maximum && *spec.maximum - low <= 100) {
    return low + random.uniform() * (*spec.maximum - low);
  }
  const double standard = std::get<double>(spec.default_value);
  return std::min(low + (std::abs(standard - low) + 0.01) * std::exp2(6 * random.uniform() - 3),
                  spec.maximum.value_or(1e300));
}

/// A value within the declared range; the default where there is nothing to draw from.
ParameterValue draw_value(const ParameterSpec& spec, RandomStream& random) {
  ParameterValue drawn = spec.default_value;
  if (std::holds_alternative<bool>(drawn)) {
    drawn = one_in(random, 2);
  } else if (std::holds_alternative<std::int64_t>(drawn)) {
    drawn = draw_integer(spec, random);
  } else if (std::holds_alternative<double>(drawn)) {
    drawn = draw_real(spec, random);
  } else if (std::holds_alternative<std::string>(drawn) && !spec.choices.empty()) {
    drawn = spec.choices[random.below(spec.choices.size())];
  }
  return is_valid(spec, drawn) ? drawn : spec.default_value;
}

CheckedRequest draw_request(RandomStream& random, Sampling::Method method) {
  CheckedRequest request;
  request.prompt = between(random, 1, one_in(random, 4) ? 60 : 14);
  request.output = between(random, 1, one_in(random, 4) ? 40 : 24);
  if (method != Sampling::Method::greedy && !one_in(random, 3)) {
    request.sequences = between(random, 1, 4);
  }
  if (one_in(random, 2)) {
    request.family = between(random, 0, 1);
    request.common = between(random, 1, request.prompt);
  }
  request.client = between(random, 0, 2);
  return request;
}

/// Counts the requests that are refused; the run is of no interest.
class Refusals final : public Recorder {
 public:
  void on_step(const StepRecord&, std::span<const Decision>) override {}
  void on_finish(const SequenceGroup&) override {}
  void on_refuse(const Request&, Seconds, const std::string&) override { ++count; }
  std::int64_t count = 0;
};

/// Requests that a pool of so many blocks refuses.
std::int64_t refused(Experiment& experiment, const PolicyRegistry& registry, std::int64_t blocks) {
  experiment.device.device_blocks = Blocks(blocks);
  CheckDevice device(blocks, 0, experiment.device.block_size.value(), experiment.device.vocabulary);
  VirtualClock clock;
  const auto workload = make_workload(experiment.workload, experiment.seed, experiment.device.vocabulary);
  clock.wait_until(Seconds(1e9));  // by then all have arrived
  Refusals refusals;
  Engine engine(device, clock, *workload, make_policies(experiment, registry), refusals);
  engine.step();
  return refusals.count;
}

}  // namespace

CaseSource::CaseSource(const PolicyRegistry& registry, CheckedChoice checked, std::uint64_t seed)
    : registry_(registry), checked_(std::move(checked)), seed_(seed) {
  const PolicyEntry& entry = registry_.find(checked_.axis, checked_.name);
  bounds_waiting_ = entry.info.bounds_waiting;
  if (entry.info.needs == "future") {
    throw InputError(fmt::format("{}/{} needs the future, which no run has, so no run can check it",
                                 checked_.axis, checked_.name));
  }
  for (const ParameterSpec& spec : entry.info.parameters) {
    if (spec.required && setting(checked_.axis, spec.name) == nullptr) {
      throw InputError(fmt::format("{}/{} must be told its parameter '{}': --set {}=VALUE, {}", checked_.axis,
                                   checked_.name, spec.name, spec.name, domain_text(spec)));
    }
  }
}

const ParameterValue* CaseSource::setting(const std::string& axis, const std::string& key) const {
  const auto found = std::ranges::find_if(
      checked_.settings, [&](const CheckedChoice::Setting& s) { return s.axis == axis && s.key == key; });
  return found == checked_.settings.end() ? nullptr : &found->value;
}

bool CaseSource::can_be_drawn(const std::string& axis, const PolicyEntry& entry) const {
  return entry.info.needs != "future" &&
         std::ranges::none_of(entry.info.parameters, [&](const ParameterSpec& spec) {
           return spec.required && setting(axis, spec.name) == nullptr;
         });
}

CheckedPolicy CaseSource::draw_parameters(const std::string& axis, const PolicyInfo& info,
                                          RandomStream& random) const {
  CheckedPolicy policy{axis, info.name, {}};
  const bool defaults = one_in(random, 3);
  for (const ParameterSpec& spec : info.parameters) {
    const ParameterValue drawn = draw_value(spec, random);
    if (const ParameterValue* given = setting(axis, spec.name)) {
      policy.parameters.emplace_back(spec.name, *given);
    } else if (!defaults && !spec.path && drawn != spec.default_value) {
      policy.parameters.emplace_back(spec.name, drawn);
    }
  }
  return policy;
}

CheckedPolicy CaseSource::draw_policy(const PolicyRegistry::AxisEntry& axis, RandomStream& random) const {
  const std::string name(axis.name);
  std::vector<const PolicyEntry*> choices;
  for (const PolicyEntry& entry : axis.policies) {
    if (can_be_drawn(name, entry)) {
      choices.push_back(&entry);
    }
  }
  const std::uint64_t place = random.below(choices.size());
  const bool standard = one_in(random, 3);
  std::string chosen = standard ? std::string(axis.standard) : choices[place]->info.name;
  if (name == checked_.axis) {
    chosen = checked_.name;
  } else if (const ParameterValue* given = setting(name, "name")) {
    chosen = std::get<std::string>(*given);
  }
  return draw_parameters(name, registry_.find(name, chosen).info, random);
}

/// A request that fills the pool, one that has to wait for it, and behind that so many short ones, faster
/// than they can be served, that a policy without bounds leaves it waiting.
void CaseSource::make_stream(CheckCase& drawn, RandomStream& random) const {
  drawn.block_size = 4;
  drawn.host_blocks = 0;
  drawn.method = Sampling::Method::greedy;
  drawn.eos.reset();
  drawn.prefix = 0;
  drawn.requests = {{.prompt = 60, .output = 8},
                    {.prompt = between(random, 20, 60), .output = between(random, 8, 40), .arrival_ms = 1}};
  for (std::int64_t i = 0; i < stream_length; ++i) {
    drawn.requests.push_back({.prompt = between(random, 8, 16),
                              .output = between(random, 1, 2),
                              .client = i % 3,
                              .arrival_ms = 2 + 2 * i});
  }
  drawn.overtakers = stream_length * 3 / 4;
  for (CheckedPolicy& policy : drawn.policies) {
    const auto fixed = [&](const auto& parameter) {
      return setting(policy.axis, parameter.first) != nullptr;
    };
    std::erase_if(policy.parameters, [&](const auto& parameter) { return !fixed(parameter); });
    if (policy.axis != checked_.axis && setting(policy.axis, "name") == nullptr) {
      policy = {policy.axis, std::string(registry_.axis(policy.axis).standard), {}};
    }
  }
}

CheckCase CaseSource::draw(std::int64_t number, std::int64_t attempt) const {
  RandomStream random(derive_seed(seed_, "check", static_cast<std::uint64_t>(number)),
                      fmt::format("attempt {}", attempt));
  CheckCase drawn;
  drawn.seed = 1 + random.below(1000);
  constexpr std::array<std::int64_t, 8> sizes = {1, 2, 3, 4, 7, 8, 16, 32};
  drawn.block_size = sizes[random.below(sizes.size())];
  drawn.vocabulary = vocabulary;
  drawn.prefix = one_in(random, 3) ? between(random, 1, 24) : 0;
  constexpr std::array methods = {Sampling::Method::greedy, Sampling::Method::random, Sampling::Method::beam};
  drawn.method = methods[random.below(methods.size())];
  if (one_in(random, 3)) {
    drawn.eos = between(random, 0, vocabulary - 1);
  }
  std::int64_t time = 0;
  const bool at_once = one_in(random, 3);
  for (std::int64_t i = between(random, 1, 10); i > 0; --i) {
    drawn.requests.push_back(draw_request(random, drawn.method));
    drawn.requests.back().arrival_ms = time;
    time += at_once ? 0 : between(random, 0, 60);
  }
  for (const PolicyRegistry::AxisEntry& axis : registry_.axes()) {
    drawn.policies.push_back(draw_policy(axis, random));
  }
  // Set by fit_pools(): how much more than the least, and how much of that on the host.
  drawn.device_blocks = one_in(random, 2) ? 0 : between(random, 0, 8);
  drawn.host_blocks = one_in(random, 3) ? 0 : between(random, 1, 40);
  if (bounds_waiting_ && number % stream_every == stream_every - 1) {
    make_stream(drawn, random);
  }
  return drawn;
}

void CaseSource::fit_pools(CheckCase& drawn) const {
  const std::int64_t more = drawn.device_blocks;
  drawn.device_blocks = 1;
  Experiment experiment = experiment_of(drawn, registry_);
  const std::int64_t always = refused(experiment, registry_, most_blocks);
  std::int64_t enough = 1;
  while (enough < most_blocks && refused(experiment, registry_, enough) > always) {
    enough *= 2;
  }
  std::int64_t too_few = enough / 2;
  while (enough - too_few > 1) {
    const std::int64_t middle = (too_few + enough) / 2;
    (refused(experiment, registry_, middle) > always ? too_few : enough) = middle;
  }
  drawn.device_blocks = enough + more;
}

}  // namespace pagelab
