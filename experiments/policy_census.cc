#include "experiments/policy_census.h"

#include <algorithm>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "policies/eviction/entry_list.h"

namespace pagelab {

namespace {

/// What the decorators have in common: the policy, the standard one, the counts.
template <class Policy>
class Watched : public Policy {
 public:
  Watched(std::unique_ptr<Policy> policy, std::unique_ptr<Policy> standard, PolicyCount& count)
      : policy_(std::move(policy)), standard_(std::move(standard)), count_(count) {}

 protected:
  /// Asks the policy, counts, and compares with the standard policy's answer.
  template <class Question>
  auto ask(Question&& question) const {
    const auto answer = question(*policy_);
    if (count_.ask()) {
      count_.compare(answer != question(*standard_));
    }
    return answer;
  }

  std::unique_ptr<Policy> policy_;
  std::unique_ptr<Policy> standard_;
  PolicyCount& count_;
};

class WatchedScheduling final : public Watched<SchedulingPolicy> {
 public:
  using Watched::Watched;

  bool keys_change() const override { return policy_->keys_change(); }
  bool displaces() const override { return policy_->displaces(); }
  bool reads_cache() const override { return policy_->reads_cache(); }
  void arrived(const GroupView& group, Seconds now) override { policy_->arrived(group, now); }
  void served(const GroupView& group, const Service& service) override { policy_->served(group, service); }
  void ended(const GroupView& group, Seconds now) override { policy_->ended(group, now); }
  double key(const GroupView& group, Seconds now) override {
    const Asked asked{policy_->key(group, now), 0, group.request(), now, count_.asked + 1};
    if (count_.ask()) {
      compare(group, asked);
    }
    return asked.key;
  }

 private:
  struct Asked {
    double key = 0;
    double standard = 0;
    RequestId request;
    Seconds now;
    std::int64_t number = -1;
  };

  static bool before(double key_a, RequestId a, double key_b, RequestId b) {
    return key_a != key_b ? key_a < key_b : a < b;
  }

  /// A key alone says nothing: compares the order of the group and the one before it. Keys that change with
  /// time have an order only where they were asked for at the same time.
  void compare(const GroupView& group, Asked asked) {
    asked.standard = standard_->key(group, asked.now);
    if (asked.number == last_.number + 1 && (asked.now == last_.now || !policy_->keys_change())) {
      count_.compare(before(last_.key, last_.request, asked.key, asked.request) !=
                     before(last_.standard, last_.request, asked.standard, asked.request));
    }
    last_ = asked;
  }

  Asked last_;
};

class WatchedBatching final : public Watched<BatchingPolicy> {
 public:
  using Watched::Watched;

  std::array<Stage, 3> stages() const override {
    return ask([](const BatchingPolicy& p) { return p.stages(); });
  }
  Tokens grant(const BatchCandidate& candidate, const StepSoFar& step) override {
    return ask([&](BatchingPolicy& p) { return p.grant(candidate, step); });
  }
  bool ends_together() const override { return policy_->ends_together(); }
};

class WatchedAllocation final : public Watched<AllocationPolicy> {
 public:
  using Watched::Watched;

  void start(const DeviceCapacity& device) override {
    policy_->start(device);
    standard_->start(device);
  }
  bool maps_pages() const override { return policy_->maps_pages(); }
  Tokens reserve(const GroupView& group, Tokens known) override {
    return ask([&](AllocationPolicy& p) { return p.reserve(group, known); });
  }
  std::unique_ptr<BlockRuns> make_runs(Blocks capacity, Tokens block_size) const override {
    auto runs = policy_->make_runs(capacity, block_size);
    if (count_.ask()) {
      count_.compare(runs != nullptr);
    }
    return runs;
  }
  Blocks append_headroom(const GroupView& group, Blocks exact) override {
    return ask([&](AllocationPolicy& p) { return p.append_headroom(group, exact); });
  }
  Blocks watermark(Blocks capacity) override {
    return ask([&](AllocationPolicy& p) { return p.watermark(capacity); });
  }
};

class WatchedPreemption final : public Watched<PreemptionPolicy> {
 public:
  using Watched::Watched;

  void start(const PreemptionView& view) override {
    policy_->start(view);
    standard_->start(view);
  }
  Victim choose(std::span<const GroupView> candidates) override {
    const Victim victim = policy_->choose(candidates);
    if (count_.ask()) {
      const Victim standard = standard_->choose(candidates);
      count_.compare(victim.index != standard.index || victim.mode != standard.mode ||
                     victim.keep != standard.keep);
    }
    return victim;
  }
};

class WatchedSharing final : public Watched<SharingPolicy> {
 public:
  using Watched::Watched;

  bool within_group() const override {
    return ask([](const SharingPolicy& p) { return p.within_group(); });
  }
  bool pins_prefixes() const override {
    return ask([](const SharingPolicy& p) { return p.pins_prefixes(); });
  }
  std::unique_ptr<PrefixIndex> make_index(Blocks capacity, Tokens block_size) const override {
    auto index = policy_->make_index(capacity, block_size);
    if (count_.ask()) {
      count_.compare(index != nullptr);
    }
    return index;
  }
  bool caches_outputs() const override { return policy_->caches_outputs(); }
};

/// The standard policy, lru, is kept as an order that says whom it would evict without evicting it.
class WatchedEviction final : public Watched<EvictionPolicy> {
 public:
  using Watched::Watched;

  Blocks remembers(Blocks capacity) const override { return policy_->remembers(capacity); }
  void start(const CacheView& cache, ForgottenEntries& forgotten) override {
    cache_ = &cache;
    order_ = EntryLists(cache.entries(), 1);
    policy_->start(cache, forgotten);
  }
  void insert(CacheEntry entry) override {
    order_.push_back(0, entry);
    policy_->insert(entry);
  }
  void touch(CacheEntry entry) override {
    order_.move_to_back(0, entry);
    policy_->touch(entry);
  }
  void release(CacheEntry entry) override {
    order_.move_to_back(0, entry);
    policy_->release(entry);
  }
  void expose(CacheEntry entry) override {
    order_.unpark(entry);
    policy_->expose(entry);
  }
  void recall(CacheEntry entry) override { policy_->recall(entry); }
  CacheEntry evict() override {
    const CacheEntry victim = policy_->evict();
    ++count_.asked;
    count_.compare(order_.first_evictable(0, *cache_) != victim);
    const bool is_entry = victim.value() >= 0 && victim.value() < cache_->entries();
    if (is_entry && order_.list_of(victim) >= 0) {  // else the core will say what is wrong with it
      order_.remove(victim);
    }
    return victim;
  }

 private:
  const CacheView* cache_ = nullptr;
  EntryLists order_;  ///< oldest first, as in policies/eviction/lru.cc
};

/// The standard policy, all, drops nothing: every choice differs from it.
class WatchedRetention final : public Watched<RetentionPolicy> {
 public:
  using Watched::Watched;

  bool keeps_all() const override { return policy_->keeps_all(); }
  bool wants_weights() const override { return policy_->wants_weights(); }
  Tokens budget(const GroupView& group) override {
    ++count_.asked;
    return policy_->budget(group);
  }
  void choose(const SlotsView& slots, Tokens least, std::vector<std::int32_t>& drop) override {
    policy_->choose(slots, least, drop);
    ++count_.asked;
    count_.compare(!drop.empty());
  }
};

template <class Policy>
struct WatchedOf;
template <>
struct WatchedOf<SchedulingPolicy> {
  using type = WatchedScheduling;
};
template <>
struct WatchedOf<BatchingPolicy> {
  using type = WatchedBatching;
};
template <>
struct WatchedOf<AllocationPolicy> {
  using type = WatchedAllocation;
};
template <>
struct WatchedOf<PreemptionPolicy> {
  using type = WatchedPreemption;
};
template <>
struct WatchedOf<SharingPolicy> {
  using type = WatchedSharing;
};
template <>
struct WatchedOf<EvictionPolicy> {
  using type = WatchedEviction;
};
template <>
struct WatchedOf<RetentionPolicy> {
  using type = WatchedRetention;
};

/// The standard policy's parameters: those of `policy` where both declare one alike, else its defaults.
Parameters standard_parameters(const PolicyInfo& standard, const Parameters& policy) {
  Parameters parameters(standard.parameters);
  for (const Parameters::Entry& entry : policy) {
    const auto same = std::ranges::find(standard.parameters, entry.spec.name, &ParameterSpec::name);
    if (same != standard.parameters.end() && is_valid(*same, entry.value)) {
      parameters.set(entry.spec.name, entry.value);
    }
  }
  return parameters;
}

}  // namespace

template <class Policy>
void PolicyCensus::watch(PolicySet::Choice<Policy>& choice, const PolicyRegistry& registry,
                         const Parameters& parameters) {
  const std::string standard(Axis<Policy>::standard);
  PolicyCount& count = counts_.emplace_back();
  count.axis = Axis<Policy>::name;
  count.name = choice.name;
  count.standard = standard;
  const PolicyInfo& info = registry.find(Axis<Policy>::name, standard).info;
  choice.policy = std::make_unique<typename WatchedOf<Policy>::type>(
      std::move(choice.policy), registry.make<Policy>(standard, standard_parameters(info, parameters)),
      count);
}

template void PolicyCensus::watch(PolicySet::Choice<SchedulingPolicy>&, const PolicyRegistry&,
                                  const Parameters&);
template void PolicyCensus::watch(PolicySet::Choice<BatchingPolicy>&, const PolicyRegistry&,
                                  const Parameters&);
template void PolicyCensus::watch(PolicySet::Choice<AllocationPolicy>&, const PolicyRegistry&,
                                  const Parameters&);
template void PolicyCensus::watch(PolicySet::Choice<PreemptionPolicy>&, const PolicyRegistry&,
                                  const Parameters&);
template void PolicyCensus::watch(PolicySet::Choice<SharingPolicy>&, const PolicyRegistry&,
                                  const Parameters&);
template void PolicyCensus::watch(PolicySet::Choice<EvictionPolicy>&, const PolicyRegistry&,
                                  const Parameters&);
template void PolicyCensus::watch(PolicySet::Choice<RetentionPolicy>&, const PolicyRegistry&,
                                  const Parameters&);

std::vector<std::string> PolicyCensus::warnings() const {
  std::vector<std::string> warnings;
  for (const PolicyCount& count : counts_) {
    if (count.asked == 0) {
      warnings.push_back(
          fmt::format("policy {}/{} was never asked: it had no part in this run", count.axis, count.name));
    } else if (count.differed == 0) {
      warnings.push_back(fmt::format("policy {}/{} never differed from {}: {} questions, {} of them compared",
                                     count.axis, count.name, count.standard, count.asked, count.compared));
    }
  }
  return warnings;
}

}  // namespace pagelab
