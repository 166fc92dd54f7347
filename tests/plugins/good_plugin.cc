// Two policies that do what they say: one orders otherwise than fcfs, one does as fcfs does.
#include "core/plugin.h"
#include "core/random.h"

namespace {

using namespace pagelab;

/// Seeded by its parameter, so that the library's own random streams are in use, too.
class Shuffled final : public SchedulingPolicy {
 public:
  explicit Shuffled(const Parameters& parameters)
      : seed_(static_cast<std::uint64_t>(parameters.integer("seed"))) {}
  double key(const GroupView& group, Seconds) override {
    return RandomStream(derive_seed(seed_, "key", group.request().index()), "shuffled").uniform();
  }

 private:
  std::uint64_t seed_;
};

class Same final : public SchedulingPolicy {
 public:
  double key(const GroupView& group, Seconds) override { return group.arrival().value(); }
};

}  // namespace

PAGELAB_PLUGIN(registry) {
  registry.add<SchedulingPolicy, Shuffled>(
      {.name = "shuffled",
       .summary = "in no order",
       .parameters = {
           {.name = "seed", .default_value = std::int64_t{1}, .help = "of the order", .minimum = 0}}});
  registry.add<SchedulingPolicy, Same>({.name = "same_as_fcfs", .summary = "by arrival"});
}
