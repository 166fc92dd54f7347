// Models of eviction policies, written from the papers and as plainly as can be: vectors that are searched
// from one end to the other. They speak of contents, which are small numbers.
//
// All have one rule that no paper has: what evict() meets in use is set aside, still counts where it was, and
// comes back when it is let go of or its last continuation was evicted.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <vector>

namespace pagelab::testing {

class EvictionModel {
 public:
  using Evictable = std::function<bool(int)>;
  virtual ~EvictionModel() = default;
  virtual void insert(int content) = 0;
  virtual void touch(int content) = 0;
  virtual void release(int content) = 0;
  virtual void expose(int content) = 0;
  virtual void recall(int) {}
  virtual int evict(const Evictable& evictable) = 0;
  virtual std::set<int> ghosts() const { return {}; }
};

/// A queue with what was set aside from it.
class ModelQueue {
 public:
  std::size_t size() const { return items_.size() + aside_.size(); }
  bool has(int c) const { return aside_.contains(c) || find(c) != items_.end(); }
  void push(int c) { items_.push_back(c); }
  void drop(int c) {
    aside_.erase(c);
    std::erase(items_, c);
  }
  void come_back(int c) {
    if (aside_.erase(c) > 0) {
      items_.insert(items_.begin(), c);
    }
  }
  std::optional<int> first() const { return items_.empty() ? std::nullopt : std::optional(items_.front()); }
  void set_first_aside() {
    aside_.insert(items_.front());
    items_.erase(items_.begin());
  }
  std::optional<int> first_evictable(const EvictionModel::Evictable& evictable) {
    while (!items_.empty() && !evictable(items_.front())) {
      set_first_aside();
    }
    return first();
  }
  std::set<int> all() const { return {items_.begin(), items_.end()}; }

 private:
  std::vector<int>::const_iterator find(int c) const { return std::find(items_.begin(), items_.end(), c); }
  std::vector<int> items_;
  std::set<int> aside_;
};

class LruModel final : public EvictionModel {
 public:
  void insert(int c) override { queue_.push(c); }
  void touch(int c) override {
    queue_.drop(c);
    queue_.push(c);
  }
  void release(int c) override { touch(c); }
  void expose(int c) override { queue_.come_back(c); }
  int evict(const Evictable& evictable) override {
    const int c = queue_.first_evictable(evictable).value();
    queue_.drop(c);
    return c;
  }

 private:
  ModelQueue queue_;
};

class FifoModel final : public EvictionModel {
 public:
  void insert(int c) override { queue_.push(c); }
  void touch(int) override {}
  void release(int c) override { queue_.come_back(c); }
  void expose(int c) override { queue_.come_back(c); }
  int evict(const Evictable& evictable) override {
    const int c = queue_.first_evictable(evictable).value();
    queue_.drop(c);
    return c;
  }

 private:
  ModelQueue queue_;
};

class LfuModel final : public EvictionModel {
 public:
  void insert(int c) override { facts_[c] = {1, ++now_}; }
  void touch(int c) override { facts_[c] = {facts_[c].first + 1, ++now_}; }
  void release(int c) override { facts_[c].second = ++now_; }
  void expose(int) override {}
  int evict(const Evictable& evictable) override {
    std::optional<int> least;
    for (const auto& [c, uses_and_time] : facts_) {
      if (evictable(c) && (!least || uses_and_time < facts_.at(*least))) {
        least = c;
      }
    }
    facts_.erase(*least);
    return *least;
  }

 private:
  std::map<int, std::pair<int, int>> facts_;  ///< uses, and when the last was
  int now_ = 0;
};

/// Algorithm 1 of the paper; the queue's last is its head, where new objects enter.
class SieveModel final : public EvictionModel {
 public:
  void insert(int c) override { queue_.push_back(c); }
  void touch(int c) override { visited_.insert(c); }
  void release(int c) override { expose(c); }
  void expose(int c) override {
    if (aside_.erase(c) > 0) {
      queue_.insert(hand_ ? std::find(queue_.begin(), queue_.end(), *hand_) : queue_.end(), c);
      hand_ = c;
    }
  }
  int evict(const Evictable& evictable) override {
    for (;;) {
      const int object = hand_.value_or(queue_.front());
      const auto at = std::find(queue_.begin(), queue_.end(), object);
      hand_ = at + 1 == queue_.end() ? std::nullopt : std::optional(*(at + 1));
      if (visited_.erase(object) > 0) {
        continue;
      }
      queue_.erase(at);
      if (evictable(object)) {
        return object;
      }
      aside_.insert(object);
    }
  }

 private:
  std::vector<int> queue_;
  std::set<int> visited_, aside_;
  std::optional<int> hand_;  ///< none: begin at the tail
};

/// Algorithm 1 of the paper, with a small queue of one tenth and a ghost queue of nine tenths.
class S3FifoModel final : public EvictionModel {
 public:
  explicit S3FifoModel(std::size_t capacity)
      : small_limit_(std::max<std::size_t>(1, capacity / 10)),
        ghost_limit_(std::max<std::size_t>(1, capacity * 9 / 10)) {}

  void insert(int c) override {
    (recalled_.erase(c) > 0 ? main_ : small_).push(c);
    uses_[c] = 0;
  }
  void touch(int c) override { uses_[c] = std::min(uses_[c] + 1, 3); }
  void release(int c) override {
    small_.come_back(c);
    main_.come_back(c);
  }
  void expose(int c) override { release(c); }
  void recall(int c) override {
    ghost_.drop(c);
    recalled_.insert(c);
  }
  int evict(const Evictable& evictable) override {
    if (small_.size() < small_limit_) {
      if (const auto c = evict_main(evictable)) {
        return *c;
      }
    }
    if (const auto c = evict_small(evictable)) {
      return *c;
    }
    return evict_main(evictable).value();
  }
  std::set<int> ghosts() const override { return ghost_.all(); }

 private:
  std::optional<int> evict_small(const Evictable& evictable) {
    while (const auto c = small_.first()) {
      if (uses_[*c] > 1) {
        small_.drop(*c);
        main_.push(*c);
        uses_[*c] = 0;
      } else if (evictable(*c)) {
        small_.drop(*c);
        ghost_.push(*c);
        if (ghost_.size() > ghost_limit_) {
          ghost_.drop(ghost_.first().value());
        }
        return c;
      } else {
        small_.set_first_aside();
      }
    }
    return std::nullopt;
  }
  std::optional<int> evict_main(const Evictable& evictable) {
    while (const auto c = main_.first()) {
      if (uses_[*c] > 0) {
        --uses_[*c];
        main_.drop(*c);
        main_.push(*c);
      } else if (evictable(*c)) {
        main_.drop(*c);
        return c;
      } else {
        main_.set_first_aside();
      }
    }
    return std::nullopt;
  }

  std::size_t small_limit_, ghost_limit_;
  ModelQueue small_, main_, ghost_;
  std::set<int> recalled_;
  std::map<int, int> uses_;
};

/// Figure 4 of the paper. x is the content at hand: in B1 or B2 (cases II and III) if it was recalled, else
/// new (case IV).
class ArcModel final : public EvictionModel {
 public:
  explicit ArcModel(std::size_t capacity) : c_(capacity) {}

  void insert(int x) override {
    (x_in_ == In::l1_or_l2 ? t1_ : t2_).push(x);
    x_in_ = In::l1_or_l2;
  }
  void touch(int x) override {  // case I
    t1_.drop(x);
    t2_.drop(x);
    t2_.push(x);
  }
  void release(int x) override {
    ModelQueue& of = t1_.has(x) ? t1_ : t2_;
    of.drop(x);
    of.push(x);
  }
  void expose(int x) override {
    t1_.come_back(x);
    t2_.come_back(x);
  }
  void recall(int x) override {
    const auto b1 = static_cast<double>(b1_.size());
    const auto b2 = static_cast<double>(b2_.size());
    if (b1_.has(x)) {
      p_ = std::min(p_ + (b1 >= b2 ? 1 : b2 / b1), static_cast<double>(c_));
      x_in_ = In::b1;
      b1_.drop(x);
    } else {
      p_ = std::max(p_ - (b2 >= b1 ? 1 : b1 / b2), 0.0);
      x_in_ = In::b2;
      b2_.drop(x);
    }
  }
  int evict(const Evictable& evictable) override {
    if (x_in_ == In::l1_or_l2) {
      if (t1_.size() + b1_.size() == c_) {
        if (t1_.size() == c_) {
          const int victim = t1_.first_evictable(evictable).value();
          t1_.drop(victim);
          return victim;
        }
        b1_.drop(b1_.first().value());
      } else if (t1_.size() + t2_.size() + b1_.size() + b2_.size() == 2 * c_) {
        b2_.drop(b2_.first().value());
      }
    }
    const auto t1 = static_cast<double>(t1_.size());
    const bool first = t1 > 0 && (t1 > p_ || (x_in_ == In::b2 && t1 == p_));
    const auto from_t1 = [&] { return move(t1_, b1_, evictable); };
    const auto from_t2 = [&] { return move(t2_, b2_, evictable); };
    const auto victim = first ? from_t1() : from_t2();
    return victim ? *victim : (first ? from_t2() : from_t1()).value();
  }
  std::set<int> ghosts() const override {
    std::set<int> all = b1_.all();
    all.merge(b2_.all());
    return all;
  }

 private:
  enum class In { l1_or_l2, b1, b2 };

  static std::optional<int> move(ModelQueue& from, ModelQueue& to, const Evictable& evictable) {
    const auto victim = from.first_evictable(evictable);
    if (victim) {
      from.drop(*victim);
      to.push(*victim);
    }
    return victim;
  }

  std::size_t c_;
  double p_ = 0;
  ModelQueue t1_, t2_, b1_, b2_;
  In x_in_ = In::l1_or_l2;
};

}  // namespace pagelab::testing
