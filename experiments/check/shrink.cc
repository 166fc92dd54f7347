#include "experiments/check/shrink.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace pagelab {

namespace {

using WallClock = std::chrono::steady_clock;

/// A shrink in progress: the smallest case that fails, and what may still be tried.
class Shrinker {
 public:
  Shrinker(CheckCase& best, const std::function<bool(const CheckCase&)>& fails, const ShrinkBudget& budget)
      : best_(best),
        fails_(fails),
        tries_(budget.tries),
        end_(WallClock::now() +
             std::chrono::duration_cast<WallClock::duration>(std::chrono::duration<double>(budget.seconds))) {
  }

  /// Keeps the changed case if it fails.
  template <class Change>
  bool attempt(Change&& change) {
    CheckCase candidate = best_;
    change(candidate);
    if (case_toml(candidate) == case_toml(best_) || tries_ == 0 || WallClock::now() > end_) {
      return false;
    }
    --tries_;
    if (!fails_(candidate)) {
      return false;
    }
    best_ = std::move(candidate);
    ++successes_;
    return true;
  }

  /// Makes a number of the case as small as it goes, `least` if possible.
  template <class Number>
  void lower(Number&& number, std::int64_t least) {
    if (number(best_) <= least || attempt([&](CheckCase& c) { number(c) = least; })) {
      return;
    }
    for (std::int64_t step = (number(best_) - least) / 2; step > 0;) {
      const std::int64_t wanted = number(best_) - step;
      const bool smaller = wanted > least && attempt([&](CheckCase& c) { number(c) = wanted; });
      step = smaller ? std::min(step, (number(best_) - least) / 2) : step / 2;
    }
  }

  const CheckCase& best() const { return best_; }
  std::int64_t successes() const { return successes_; }

 private:
  CheckCase& best_;
  const std::function<bool(const CheckCase&)>& fails_;
  std::int64_t tries_;
  WallClock::time_point end_;
  std::int64_t successes_ = 0;
};

void drop_requests(Shrinker& shrinker) {
  for (std::size_t size = shrinker.best().requests.size() / 2; size > 0; size /= 2) {
    for (std::size_t first = 0; first < shrinker.best().requests.size();) {
      const std::size_t end = std::min(first + size, shrinker.best().requests.size());
      const bool all = end - first == shrinker.best().requests.size();
      const bool dropped = !all && shrinker.attempt([&](CheckCase& c) {
        c.requests.erase(c.requests.begin() + static_cast<std::ptrdiff_t>(first),
                         c.requests.begin() + static_cast<std::ptrdiff_t>(end));
      });
      first = dropped ? first : end;
    }
  }
}

void simplify_policies(Shrinker& shrinker, const PolicyRegistry& registry, const std::string& checked_axis,
                       const std::function<bool(const std::string&, const std::string&)>& kept) {
  for (std::size_t i = 0; i < shrinker.best().policies.size(); ++i) {
    const std::string axis = shrinker.best().policies[i].axis;
    if (axis != checked_axis && !kept(axis, "name")) {
      shrinker.attempt([&](CheckCase& c) {
        c.policies[i] = {axis, std::string(registry.axis(axis).standard), {}};
      });
    }
    for (std::size_t p = shrinker.best().policies[i].parameters.size(); p-- > 0;) {
      if (!kept(axis, shrinker.best().policies[i].parameters[p].first)) {
        shrinker.attempt([&](CheckCase& c) {
          c.policies[i].parameters.erase(c.policies[i].parameters.begin() + static_cast<std::ptrdiff_t>(p));
        });
      }
    }
  }
}

void simplify_workload(Shrinker& shrinker) {
  shrinker.attempt([](CheckCase& c) {
    for (CheckedRequest& r : c.requests) {
      r.sequences = 1;
    }
    c.method = Sampling::Method::greedy;
  });
  shrinker.attempt([](CheckCase& c) { c.eos.reset(); });
  shrinker.attempt([](CheckCase& c) { c.seed = 1; });
  const auto of_all = [&](std::int64_t CheckedRequest::*number) {
    shrinker.attempt([&](CheckCase& c) {
      for (CheckedRequest& r : c.requests) {
        r.*number = 0;
      }
    });
  };
  of_all(&CheckedRequest::arrival_ms);
  of_all(&CheckedRequest::client);
  of_all(&CheckedRequest::common);
  shrinker.lower(
      [](auto& c) -> auto& { return c.prefix; }, 0);
  shrinker.lower(
      [](auto& c) -> auto& { return c.host_blocks; }, 0);
}

void shorten_requests(Shrinker& shrinker) {
  for (std::size_t i = 0; i < shrinker.best().requests.size(); ++i) {
    shrinker.lower(
        [i](auto& c) -> auto& { return c.requests[i].sequences; }, 1);
    shrinker.lower(
        [i](auto& c) -> auto& { return c.requests[i].output; }, 1);
    shrinker.lower(
        [i](auto& c) -> auto& { return c.requests[i].prompt; }, 1);
    shrinker.lower(
        [i](auto& c) -> auto& { return c.requests[i].common; }, 0);
  }
}

/// Shorter blocks with requests that are shorter in proportion.
void scale_down(Shrinker& shrinker) {
  for (const std::int64_t by : {shrinker.best().block_size, std::int64_t{2}}) {
    shrinker.attempt([by](CheckCase& c) {
      c.block_size = (c.block_size + by - 1) / by;
      for (CheckedRequest& r : c.requests) {
        r.prompt = (r.prompt + by - 1) / by;
        r.common = (r.common + by - 1) / by;
      }
    });
  }
}

void shrink_pools(Shrinker& shrinker) {
  shrinker.lower(
      [](auto& c) -> auto& { return c.device_blocks; }, 1);
  shrinker.lower(
      [](auto& c) -> auto& { return c.block_size; }, 1);
}

}  // namespace

CheckCase shrink(CheckCase failing, const PolicyRegistry& registry, const std::string& checked_axis,
                 const std::function<bool(const std::string& axis, const std::string& key)>& kept,
                 const std::function<bool(const CheckCase&)>& fails, const ShrinkBudget& budget) {
  Shrinker shrinker(failing, fails, budget);
  for (std::int64_t before = -1; before != shrinker.successes();) {
    before = shrinker.successes();
    drop_requests(shrinker);
    simplify_policies(shrinker, registry, checked_axis, kept);
    simplify_workload(shrinker);
    shorten_requests(shrinker);
    scale_down(shrinker);
    shrink_pools(shrinker);
  }
  return failing;
}

}  // namespace pagelab
