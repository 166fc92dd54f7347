// The census of policies: what counts as a difference on each axis, what is warned of, and that a run under
// it is the same run.
#include "experiments/policy_census.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/support/builders.h"
#include "tests/support/hash_device.h"

namespace pagelab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const PolicyRegistry& registry() {
  static const PolicyRegistry filled = [] {
    PolicyRegistry made;
    register_builtin_policies(made);
    return made;
  }();
  return filled;
}

/// The standard policies, and in place of one of them `policy`, under a census.
template <class Policy>
struct Watch {
  explicit Watch(std::unique_ptr<Policy> policy) {
    set.for_each([&]<class P>(PolicySet::Choice<P>& choice) {
      const std::string name(Axis<P>::standard);
      choice = {name,
                registry().make<P>(name, Parameters(registry().find(Axis<P>::name, name).info.parameters))};
      if constexpr (std::is_same_v<P, Policy>) {
        choice = {"mine", std::move(policy)};
        watched = &choice;
      }
    });
    census.watch(set, registry(), [](std::string_view) { return Parameters(); });
  }
  const PolicyCount& count() const { return census.counts().front(); }
  Policy& policy() { return **watched; }

  PolicyCensus census;
  PolicySet set;
  PolicySet::Choice<Policy>* watched = nullptr;
};

SequenceGroup group(std::int32_t id, std::int64_t prompt) {
  SequenceGroup made;
  made.request = testing::request(id, prompt, 1, id);
  made.live.emplace_back().prompt = Tokens(prompt);
  return made;
}

class ByPrompt final : public SchedulingPolicy {
 public:
  double key(const GroupView& view, Seconds) override {
    return static_cast<double>(view.prompt_tokens().value());
  }
};

TEST(PolicyCensus, ComparesTheOrderThatKeysGiveAndNotTheKeys) {
  Watch<SchedulingPolicy> watch(std::make_unique<ByPrompt>());
  for (const auto& [id, prompt] : std::vector<std::pair<int, int>>{{0, 5}, {1, 7}, {2, 6}, {3, 6}}) {
    const SequenceGroup asked = group(id, prompt);
    watch.policy().key(GroupView(asked), Seconds(id));
  }
  EXPECT_EQ(watch.count().asked, 4);
  EXPECT_EQ(watch.count().compared, 3);  // each with the one before it
  EXPECT_EQ(watch.count().differed, 1);  // request 2 goes before 1; 3 has the key of 2 and came later
  EXPECT_THAT(watch.census.warnings(), IsEmpty());
}

class Half final : public BatchingPolicy {
 public:
  Tokens grant(const BatchCandidate& candidate, const StepSoFar&) override {
    return std::max(Tokens(1), candidate.pending / 2);
  }
};

TEST(PolicyCensus, ComparesGrantsAndStages) {
  Watch<BatchingPolicy> watch(std::make_unique<Half>());
  const SequenceGroup one = group(0, 8);
  EXPECT_EQ(watch.policy().grant({GroupView(one), Stage::waiting, Tokens(8), false}, {}), Tokens(4));
  EXPECT_EQ(watch.policy().grant({GroupView(one), Stage::running, Tokens(1), true}, {}), Tokens(1));
  watch.policy().stages();
  EXPECT_EQ(watch.count().asked, 3);
  EXPECT_EQ(watch.count().differed, 1);
}

class First final : public PreemptionPolicy {
 public:
  Victim choose(std::span<const GroupView>) override { return {0, PreemptionMode::recompute, "the first"}; }
};

TEST(PolicyCensus, ComparesVictims) {
  Watch<PreemptionPolicy> watch(std::make_unique<First>());
  EXPECT_THAT(watch.census.warnings(), ElementsAre(HasSubstr("preemption/mine was never asked")));
  const SequenceGroup a = group(0, 8), b = group(1, 8);
  watch.policy().choose(std::vector<GroupView>{GroupView(a)});
  EXPECT_THAT(watch.census.warnings(),
              ElementsAre(HasSubstr("preemption/mine never differed from latest: 1 ")));
  watch.policy().choose(std::vector<GroupView>{GroupView(a), GroupView(b)});
  EXPECT_EQ(watch.count().differed, 1);
  EXPECT_THAT(watch.census.warnings(), IsEmpty());
}

/// Evicts what was cached first, whatever became of it.
class Oldest final : public EvictionPolicy {
 public:
  void start(const CacheView&, ForgottenEntries&) override {}
  void insert(CacheEntry entry) override { queue_.push_back(entry); }
  void touch(CacheEntry) override {}
  CacheEntry evict() override {
    const CacheEntry first = queue_.front();
    queue_.erase(queue_.begin());
    return first;
  }

 private:
  std::vector<CacheEntry> queue_;
};

TEST(PolicyCensus, ComparesEvictionsWithAnLruThatSawTheSameVictims) {
  Watch<EvictionPolicy> watch(std::make_unique<Oldest>());
  const std::vector<CacheView::Facts> facts(3);
  const CacheView view(Blocks(3), facts);
  ForgottenEntries forgotten;
  watch.policy().start(view, forgotten);
  for (const int entry : {0, 1, 2}) {
    watch.policy().insert(CacheEntry(entry));
  }
  watch.policy().touch(CacheEntry(0));
  watch.policy().evict();  // 0; lru: 1
  watch.policy().evict();  // 1; lru, which has lost 0, too: 1
  EXPECT_EQ(watch.count().asked, 2);
  EXPECT_EQ(watch.count().differed, 1);
}

TEST(PolicyCensus, ComparesAllAtFirstAndLaterOneInSixteen) {
  Watch<PreemptionPolicy> watch(std::make_unique<First>());
  const SequenceGroup a = group(0, 8);
  const std::vector<GroupView> candidates = {GroupView(a)};
  for (int i = 0; i < 1024 + 251 * 10; ++i) {
    watch.policy().choose(candidates);
  }
  EXPECT_EQ(watch.count().asked, 1024 + 251 * 10);
  EXPECT_EQ(watch.count().compared, 1024 + 16 * 10);
}

using Names = std::map<std::string, std::string, std::less<>>;

Parameters parameters_for(std::string_view axis, std::string_view name) {
  Parameters parameters(registry().find(axis, name).info.parameters);
  for (const auto& [key, value] : {std::pair{"max_length", 80}, {"max_tokens", 64}, {"max_groups", 3}}) {
    if (parameters.has(key)) {
      parameters.set(key, std::int64_t{value});
    }
  }
  return parameters;
}

/// All decisions of a run in tight memory.
std::vector<std::string> decisions(const Names& names, PolicyCensus* census) {
  PolicySet set;
  set.for_each([&]<class P>(PolicySet::Choice<P>& choice) {
    const auto named = names.find(Axis<P>::name);
    const std::string name(named == names.end() ? Axis<P>::standard : std::string_view(named->second));
    choice = {name, registry().make<P>(name, parameters_for(Axis<P>::name, name))};
  });
  if (census != nullptr) {
    census->watch(set, registry(),
                  [&](std::string_view axis) { return parameters_for(axis, names.at(std::string(axis))); });
  }
  std::vector<Request> requests;
  for (std::int32_t id = 0; id < 14; ++id) {
    Request request = testing::request(id, 5 + 7 * (id % 5), 12 + 5 * (id % 4));
    requests.push_back(id % 3 == 0 ? testing::parallel(std::move(request), 3) : std::move(request));
  }
  const bool in_runs = names.contains("allocation");  // of 32 blocks each, three for the widest request
  testing::HashDevice device(in_runs ? 96 : 60, 32, 4);
  testing::KeepingRecorder record;
  VirtualClock clock;
  testing::ListWorkload workload(std::move(requests));
  Engine engine(device, clock, workload, std::move(set), record);
  while (engine.step()) {
  }
  std::vector<std::string> lines;
  for (const auto& event : record.events) {
    lines.push_back(std::to_string(event.step) + " " + std::string(name_of(event.kind)) + " " +
                    std::to_string(event.request) + " " + std::to_string(event.tokens) + " " + event.reason);
  }
  return lines;
}

TEST(PolicyCensus, ARunUnderItTakesTheSameDecisionsWhateverThePolicy) {
  int compared = 0;
  for (const PolicyRegistry::AxisEntry& axis : registry().axes()) {
    for (const PolicyEntry& policy : axis.policies) {
      if (policy.info.name == axis.standard || policy.info.needs == "future") {
        continue;
      }
      SCOPED_TRACE(std::string(axis.name) + "/" + policy.info.name);
      Names names = {{std::string(axis.name), policy.info.name}};
      if (axis.name == "allocation") {
        names["sharing"] = "none";  // runs cannot be shared
      }
      if (axis.name == "eviction") {
        names["sharing"] = "prefix_hash";  // else nothing is cached
      }
      PolicyCensus census;
      const std::vector<std::string> watched = decisions(names, &census);
      EXPECT_EQ(watched, decisions(names, nullptr));
      EXPECT_GT(watched.size(), 100U);
      EXPECT_GT(census.counts().back().asked, 0);
      ++compared;
    }
  }
  EXPECT_GE(compared, 10);
}

}  // namespace
}  // namespace pagelab
