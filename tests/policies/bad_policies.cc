#include "tests/policies/bad_policies.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <list>
#include <stdexcept>

namespace pagelab::testing {

namespace {

// Scheduling.

/// Legal and slow: the last to come goes first.
class Reverse final : public SchedulingPolicy {
 public:
  double key(const GroupView& group, Seconds) override { return -group.arrival().value(); }
};

class NoNumber final : public SchedulingPolicy {
 public:
  double key(const GroupView& group, Seconds) override {
    return group.output_tokens() == Tokens(3) ? std::numeric_limits<double>::quiet_NaN() : 0;
  }
  bool keys_change() const override { return true; }
};

class Throwing final : public SchedulingPolicy {
 public:
  double key(const GroupView& group, Seconds) override {
    if (group.prompt_tokens() > Tokens(10)) {
      throw std::out_of_range("no place for a long prompt");
    }
    return 0;
  }
};

class ThrowingANumber final : public SchedulingPolicy {
 public:
  double key(const GroupView&, Seconds) override { throw 42; }
};

/// Answers depend on all that it was ever asked, as those of one that looks at a clock or a random device do.
class Fickle final : public SchedulingPolicy {
 public:
  double key(const GroupView&, Seconds) override {
    static std::uint64_t state = 1;
    state = state * 6364136223846793005 + 1442695040888963407;
    return static_cast<double>(state >> 40);
  }
};

class Crashing final : public SchedulingPolicy {
 public:
  double key(const GroupView& group, Seconds) override {
    if (group.width() > 2) {
      std::abort();
    }
    return 0;
  }
};

class Silent final : public SchedulingPolicy {
 public:
  double key(const GroupView& group, Seconds) override {
    for (volatile bool waiting = group.prompt_tokens() > Tokens(15); waiting;) {
    }
    return 0;
  }
};

// Batching.

class OneTooMany final : public BatchingPolicy {
 public:
  Tokens grant(const BatchCandidate& candidate, const StepSoFar&) override {
    return candidate.pending + Tokens(candidate.decode ? 1 : 0);
  }
};

class Negative final : public BatchingPolicy {
 public:
  Tokens grant(const BatchCandidate& candidate, const StepSoFar& step) override {
    return step.groups > 0 ? Tokens(-1) : candidate.pending;
  }
};

class Nothing final : public BatchingPolicy {
 public:
  Tokens grant(const BatchCandidate& candidate, const StepSoFar&) override {
    return candidate.decode ? Tokens(0) : candidate.pending;
  }
};

class RunningTwice final : public BatchingPolicy {
 public:
  std::array<Stage, 3> stages() const override { return {Stage::running, Stage::waiting, Stage::running}; }
  Tokens grant(const BatchCandidate& candidate, const StepSoFar&) override { return candidate.pending; }
};

// Preemption.

/// Legal and slow: the group with the most to lose gives way.
class Thrash final : public PreemptionPolicy {
 public:
  Victim choose(std::span<const GroupView> candidates) override {
    const auto most = std::ranges::max_element(candidates, {}, &GroupView::computed_tokens);
    return {static_cast<std::size_t>(most - candidates.begin()), PreemptionMode::recompute,
            "it has the most to lose"};
  }
};

class OutOfRange final : public PreemptionPolicy {
 public:
  Victim choose(std::span<const GroupView> candidates) override {
    return {candidates.size(), PreemptionMode::swap, "one too far"};
  }
};

class Reasonless final : public PreemptionPolicy {
 public:
  Victim choose(std::span<const GroupView>) override { return {0, PreemptionMode::swap, nullptr}; }
};

// Allocation.

class TooLittle final : public AllocationPolicy {
 public:
  Tokens reserve(const GroupView&, Tokens known) override { return std::min(known, Tokens(12)); }
};

class NegativeWatermark final : public AllocationPolicy {
 public:
  Tokens reserve(const GroupView&, Tokens known) override { return known; }
  Blocks watermark(Blocks) override { return Blocks(-4); }
};

class NoHeadroom final : public AllocationPolicy {
 public:
  Tokens reserve(const GroupView&, Tokens known) override { return known; }
  Blocks append_headroom(const GroupView&, Blocks exact) override { return exact - Blocks(1); }
};

/// Asks for more the second time.
class Growing final : public AllocationPolicy {
 public:
  Tokens reserve(const GroupView&, Tokens known) override {
    extra_ += 1;
    return known + Tokens(extra_);
  }

 private:
  std::int64_t extra_ = 0;
};

class SameRun final : public AllocationPolicy {
 public:
  Tokens reserve(const GroupView&, Tokens known) override { return std::max(known, Tokens(128)); }
  std::unique_ptr<BlockRuns> make_runs(Blocks capacity, Tokens) const override {
    class First final : public BlockRuns {
     public:
      explicit First(Blocks capacity) : capacity_(capacity) {}
      std::optional<BlockId> take(Blocks blocks) override {
        return blocks <= capacity_ ? std::optional(BlockId(0)) : std::nullopt;
      }
      void give_back(BlockId, Blocks) override {}
      Blocks free() const override { return Blocks(0); }

     private:
      Blocks capacity_;
    };
    return std::make_unique<First>(capacity);
  }
};

/// Takes runs one behind the other, and has back only what was taken last.
class LeakingRuns final : public AllocationPolicy {
 public:
  Tokens reserve(const GroupView&, Tokens known) override { return std::max(known, Tokens(128)); }
  std::unique_ptr<BlockRuns> make_runs(Blocks capacity, Tokens) const override {
    class Stack final : public BlockRuns {
     public:
      explicit Stack(Blocks capacity) : capacity_(capacity.value()) {}
      std::optional<BlockId> take(Blocks blocks) override {
        if (next_ + blocks.value() > capacity_) {
          return std::nullopt;
        }
        next_ += blocks.value();
        return BlockId(static_cast<std::int32_t>(next_ - blocks.value()));
      }
      void give_back(BlockId first, Blocks blocks) override {
        next_ = first.value() + blocks.value() == next_ ? first.value() : next_;
      }
      Blocks free() const override { return Blocks(capacity_ - next_); }

     private:
      std::int64_t capacity_;
      std::int64_t next_ = 0;
    };
    return std::make_unique<Stack>(capacity);
  }
};

// Eviction.

/// Legal and slow: what was used last goes first.
class MostRecent final : public EvictionPolicy {
 public:
  void start(const CacheView& cache, ForgottenEntries&) override { cache_ = &cache; }
  void insert(CacheEntry entry) override { order_.push_front(entry); }
  void touch(CacheEntry entry) override {
    order_.remove(entry);
    order_.push_front(entry);
  }
  CacheEntry evict() override {
    const auto victim =
        std::ranges::find_if(order_, [this](CacheEntry entry) { return cache_->evictable(entry); });
    const CacheEntry entry = *victim;
    order_.erase(victim);
    return entry;
  }

 protected:
  const CacheView* cache_ = nullptr;
  std::list<CacheEntry> order_;  ///< the most recent first
};

/// Does not look whether its victim is in use.
class InUse final : public EvictionPolicy {
 public:
  void start(const CacheView&, ForgottenEntries&) override {}
  void insert(CacheEntry entry) override { last_ = entry; }
  void touch(CacheEntry) override {}
  CacheEntry evict() override { return last_; }

 private:
  CacheEntry last_;
};

class NoEntry final : public EvictionPolicy {
 public:
  void start(const CacheView& cache, ForgottenEntries&) override { cache_ = &cache; }
  void insert(CacheEntry) override {}
  void touch(CacheEntry) override {}
  CacheEntry evict() override { return CacheEntry(cache_->entries()); }

 private:
  const CacheView* cache_ = nullptr;
};

class ForgetsTheCached final : public EvictionPolicy {
 public:
  Blocks remembers(Blocks) const override { return Blocks(2); }
  void start(const CacheView&, ForgottenEntries& forgotten) override { forgotten_ = &forgotten; }
  void insert(CacheEntry entry) override { forgotten_->add(entry); }
  void touch(CacheEntry) override {}
  CacheEntry evict() override { return {}; }

 private:
  ForgottenEntries* forgotten_ = nullptr;
};

/// Registers the policies of one name.
class Chosen {
 public:
  Chosen(PolicyRegistry& registry, std::string_view name) : registry_(registry), name_(name) {}

  template <class Policy, class Bad>
  void add(const char* name, bool bounds_waiting = false) {
    if (name == name_) {
      registry_.add<Policy, Bad>({.name = name,
                                  .summary = "bad on purpose",
                                  .source = "the tests",
                                  .bounds_waiting = bounds_waiting});
    }
  }

 private:
  PolicyRegistry& registry_;
  std::string_view name_;
};

}  // namespace

void register_bad_policy(PolicyRegistry& registry, std::string_view name) {
  Chosen chosen(registry, name);
  chosen.add<SchedulingPolicy, Reverse>("bad_reverse");
  chosen.add<SchedulingPolicy, Reverse>("bad_starving", true);
  chosen.add<SchedulingPolicy, NoNumber>("bad_nan");
  chosen.add<SchedulingPolicy, Throwing>("bad_throwing");
  chosen.add<SchedulingPolicy, ThrowingANumber>("bad_throwing_a_number");
  chosen.add<SchedulingPolicy, Fickle>("bad_fickle");
  chosen.add<SchedulingPolicy, Crashing>("bad_crashing");
  chosen.add<SchedulingPolicy, Silent>("bad_silent");
  chosen.add<BatchingPolicy, OneTooMany>("bad_one_too_many");
  chosen.add<BatchingPolicy, Negative>("bad_negative");
  chosen.add<BatchingPolicy, Nothing>("bad_nothing");
  chosen.add<BatchingPolicy, RunningTwice>("bad_running_twice");
  chosen.add<PreemptionPolicy, Thrash>("bad_thrash");
  chosen.add<PreemptionPolicy, OutOfRange>("bad_out_of_range");
  chosen.add<PreemptionPolicy, Reasonless>("bad_reasonless");
  chosen.add<AllocationPolicy, TooLittle>("bad_too_little");
  chosen.add<AllocationPolicy, NegativeWatermark>("bad_negative_watermark");
  chosen.add<AllocationPolicy, NoHeadroom>("bad_no_headroom");
  chosen.add<AllocationPolicy, Growing>("bad_growing");
  chosen.add<AllocationPolicy, SameRun>("bad_same_run");
  chosen.add<AllocationPolicy, LeakingRuns>("bad_leaking_runs");
  chosen.add<EvictionPolicy, MostRecent>("bad_most_recent");
  chosen.add<EvictionPolicy, InUse>("bad_in_use");
  chosen.add<EvictionPolicy, NoEntry>("bad_no_entry");
  chosen.add<EvictionPolicy, ForgetsTheCached>("bad_forgets_the_cached");
}

}  // namespace pagelab::testing
