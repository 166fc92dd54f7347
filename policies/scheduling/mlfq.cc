// Skip-join multi-level feedback queue (FastServe, section 4.1): levels with growing quanta of service time,
// first come first served within a level, the lower level displaced by the higher one. A request joins the
// first level whose quantum covers its prefill, and so skips those where it would only be demoted; it sinks a
// level when it has used up its quantum there, and comes back to the first one when it has not been served
// for long.
#include <vector>

#include "core/policy_registry.h"
#include "policies/scheduling/per_request.h"

namespace pagelab {
namespace {

class Mlfq final : public SchedulingPolicy {
 public:
  explicit Mlfq(const Parameters& parameters)
      : prefill_token_s_(parameters.real("prefill_token_s")), starve_s_(parameters.real("starve_s")) {
    double quantum = parameters.real("quantum_s");
    for (std::int64_t level = 0; level < parameters.integer("levels"); ++level) {
      quanta_.push_back(quantum);
      quantum *= parameters.real("growth");
    }
  }

  double key(const GroupView& group, Seconds now) override {
    State& state = states_[group.request()];
    if (starve_s_ > 0 && state.level > 0 && (now - state.last_served).value() >= starve_s_) {
      join(state, 0, now);
    }
    return static_cast<double>(state.level) * level_stride + static_cast<double>(state.place);
  }
  bool keys_change() const override { return true; }
  bool displaces() const override { return true; }

  void arrived(const GroupView& group, Seconds now) override {
    const double prefill_s = prefill_token_s_ * static_cast<double>(group.prompt_tokens().value());
    std::size_t level = 0;
    while (level + 1 < quanta_.size() && quanta_[level] < prefill_s) {
      ++level;
    }
    join(states_[group.request()], level, now);
  }

  void served(const GroupView& group, const Service& service) override {
    State& state = states_[group.request()];
    state.used_s += (service.ended - service.began).value();
    state.last_served = service.ended;
    if (state.used_s >= quanta_[state.level] && state.level + 1 < quanta_.size()) {
      join(state, state.level + 1, service.ended);
    }
  }

 private:
  struct State {
    std::size_t level = 0;
    std::int64_t place = 0;  ///< when it joined its level, among all joins
    double used_s = 0;       ///< of its quantum there
    Seconds last_served;     ///< or since when it waits at this level
  };
  static constexpr double level_stride = 1099511627776.0;  ///< 2^40; places stay below

  void join(State& state, std::size_t level, Seconds now) {
    state = {.level = level, .place = joins_++, .used_s = 0, .last_served = now};
  }

  double prefill_token_s_;
  double starve_s_;
  std::vector<double> quanta_;  ///< in seconds, by level
  std::int64_t joins_ = 0;
  PerRequest<State> states_;
};

}  // namespace

void register_scheduling_mlfq(PolicyRegistry& registry) {
  registry.add<SchedulingPolicy, Mlfq>(
      {.name = "mlfq",
       .summary = "skip-join multi-level feedback queue: sinks with service, displaces",
       .source = "FastServe (arXiv 2305.05920; NSDI 2026), section 4.1",
       .parameters = {
           {.name = "quantum_s",
            .default_value = 0.05,
            .unit = "s",
            .help = "service that a request gets at the first level before it sinks",
            .maximum = 1e6,
            .above = 0},
           {.name = "growth",
            .default_value = 2.0,
            .help = "factor from one level's quantum to the next",
            .minimum = 1,
            .maximum = 1000},
           {.name = "levels",
            .default_value = std::int64_t{8},
            .unit = "levels",
            .help = "the last one has no quantum",
            .minimum = 1,
            .maximum = 64},
           {.name = "prefill_token_s",
            .default_value = 1e-4,
            .unit = "s/token",
            .help = "expected time of a prompt token, for the level to join; 0: all join the first",
            .minimum = 0,
            .maximum = 1e6},
           {.name = "starve_s",
            .default_value = 30.0,
            .unit = "s",
            .help = "without service, then back to the first level; 0: never",
            .minimum = 0,
            .maximum = 1e9}}});
}

}  // namespace pagelab
