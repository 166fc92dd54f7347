// A small cache for tests of eviction policies: contents are small numbers, and every rule of the contract is
// checked at each event. What breaks a rule is thrown as a text.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "core/policy_registry.h"
#include "policies/builtin.h"
#include "tests/policies/eviction_models.h"

namespace pagelab::testing {

inline void require(bool holds, const std::string& rule) {
  if (!holds) {
    throw std::logic_error(rule);
  }
}

/// Owns contents, entries and holds, as the engine's prefix cache does, and drives a policy with them; a
/// model of the policy, if there is one, gets the same events and must choose the same victims.
class EvictionCache {
 public:
  /// `next_use`, if given, is kept up to date: by entry, where the next reference of its content is.
  EvictionCache(EvictionPolicy& policy, std::int64_t capacity, EvictionModel* model = nullptr,
                std::span<std::int64_t> next_use = {})
      : policy_(policy),
        model_(model),
        next_use_(next_use),
        capacity_(static_cast<std::size_t>(capacity)),
        remembers_(static_cast<std::size_t>(policy.remembers(Blocks(capacity)).value())),
        facts_(capacity_ + remembers_),
        content_of_(facts_.size(), -1),
        view_(Blocks(capacity), facts_) {
    for (std::size_t i = facts_.size(); i-- > 0;) {
      free_.push_back(CacheEntry(static_cast<std::int32_t>(i)));
    }
    policy_.start(view_, forgotten_);
  }

  bool cached(int content) const { return entries_.contains(content); }
  bool in_use(int content) const { return cached(content) && users_.contains(content); }
  const std::vector<int>& victims() const { return victims_; }

  /// A reference; `use`: by somebody who goes on using the content until let_go(). A content may continue a
  /// cached one, which cannot be evicted then. Nothing happens if room is needed and all is in use.
  void reference(int content, bool use = false, int depth = 0, std::optional<int> continues = {},
                 std::int64_t next = 0) {
    if (cached(content)) {
      const CacheEntry entry = entries_.at(content);
      set_next(entry, next);
      hold(content, use);
      policy_.touch(entry);
      if (model_ != nullptr) {
        model_->touch(content);
      }
      return;
    }
    if (continues && cached(*continues)) {
      parent_[content] = *continues;
      ++facts_[entries_.at(*continues).index()].holds;  // before room is made: it must not be evicted now
    }
    if (entries_.size() == capacity_ && !any_evictable()) {
      drop_parent(content);
      return;
    }
    std::optional<CacheEntry> known;
    if (ghosts_.contains(content)) {
      known = ghosts_.at(content);
      ghosts_.erase(content);
      policy_.recall(*known);
      if (model_ != nullptr) {
        model_->recall(content);
      }
      drain();
    }
    if (entries_.size() == capacity_) {
      evict();
    }
    require(known || !free_.empty(), "no entry is left");
    const CacheEntry entry = known ? *known : free_.back();
    if (!known) {
      free_.pop_back();
    }
    content_of_[entry.index()] = content;
    facts_[entry.index()].depth = depth;
    set_next(entry, next);
    entries_[content] = entry;
    hold(content, use);
    policy_.insert(entry);
    if (model_ != nullptr) {
      model_->insert(content);
      check_ghosts();
    }
  }

  /// One user of a content that is in use lets go of it.
  void let_go(int content) {
    --facts_[entries_.at(content).index()].holds;
    if (--users_.at(content) == 0) {
      users_.erase(content);
      policy_.release(entries_.at(content));
      if (model_ != nullptr) {
        model_->release(content);
      }
    }
  }

  bool any_evictable() const {
    return std::any_of(entries_.begin(), entries_.end(),
                       [&](const auto& e) { return view_.evictable(e.second); });
  }

  void evict() {
    const CacheEntry victim = policy_.evict();
    require(victim.value() >= 0 && victim.index() < facts_.size(), "the victim is no entry");
    const int content = content_of_[victim.index()];
    require(cached(content) && entries_.at(content) == victim, "the victim is not cached");
    require(view_.evictable(victim), "the victim is in use");
    victims_.push_back(content);
    if (model_ != nullptr) {
      const int expected = model_->evict([&](int other) { return view_.evictable(entries_.at(other)); });
      require(expected == content,
              fmt::format("eviction {}: {}, the model says {}", victims_.size(), content, expected));
    }
    entries_.erase(content);
    if (remembers_ > 0) {
      ghosts_[content] = victim;
      drain();
      require(ghosts_.size() <= remembers_, "more is remembered than remembers() says");
      check_ghosts();
    } else {
      free_.push_back(victim);
      require(forgotten_.empty(), "it forgets, but remembers nothing");
    }
    if (const auto parent = drop_parent(content)) {
      policy_.expose(entries_.at(*parent));
      if (model_ != nullptr) {
        model_->expose(*parent);
      }
    }
  }

  /// Everybody lets go, and everything is evicted: each cached content exactly once.
  void evict_all() {
    model_ = nullptr;  // it knows evictions for the sake of an insertion only
    while (!users_.empty()) {
      let_go(users_.begin()->first);
    }
    while (!entries_.empty()) {
      require(any_evictable(), "nothing can be evicted though nothing is in use");
      evict();
    }
  }

 private:
  void set_next(CacheEntry entry, std::int64_t next) {
    if (!next_use_.empty()) {
      next_use_[entry.index()] = next;
    }
  }
  void hold(int content, bool use) {
    if (use) {
      ++users_[content];
      ++facts_[entries_.at(content).index()].holds;
    }
  }
  /// Takes the hold of a content off the one that it continues; returns that if it was the last one behind
  /// it.
  std::optional<int> drop_parent(int content) {
    const auto found = parent_.find(content);
    if (found == parent_.end()) {
      return std::nullopt;
    }
    const int parent = found->second;
    parent_.erase(found);
    --facts_[entries_.at(parent).index()].holds;
    const bool last =
        std::none_of(parent_.begin(), parent_.end(), [&](const auto& p) { return p.second == parent; });
    return last ? std::optional(parent) : std::nullopt;
  }
  void drain() {
    while (!forgotten_.empty()) {
      const CacheEntry entry = forgotten_.take();
      const int content = content_of_[entry.index()];
      require(ghosts_.contains(content) && ghosts_.at(content) == entry,
              "what is forgotten was not remembered");
      ghosts_.erase(content);
      free_.push_back(entry);
    }
  }
  void check_ghosts() const {
    if (model_ != nullptr) {
      std::set<int> ours;
      for (const auto& [content, entry] : ghosts_) {
        ours.insert(content);
      }
      require(ours == model_->ghosts(), "the model remembers others");
    }
  }

  EvictionPolicy& policy_;
  EvictionModel* model_;
  std::span<std::int64_t> next_use_;
  std::size_t capacity_;
  std::size_t remembers_;
  std::vector<CacheView::Facts> facts_;
  std::vector<int> content_of_;  ///< by entry
  CacheView view_;
  ForgottenEntries forgotten_;
  std::vector<CacheEntry> free_;
  std::map<int, CacheEntry> entries_;  ///< of what is cached
  std::map<int, CacheEntry> ghosts_;
  std::map<int, int> users_;   ///< of what is in use
  std::map<int, int> parent_;  ///< of what continues a cached content
  std::vector<int> victims_;
};

inline std::unique_ptr<EvictionPolicy> make_eviction(
    const std::string& name, const Future* future = nullptr,
    const std::map<std::string, ParameterValue>& values = {}) {
  PolicyRegistry registry;
  register_builtin_policies(registry);
  Parameters parameters(registry.find("eviction", name).info.parameters);
  for (const auto& [key, value] : values) {
    parameters.set(key, value);
  }
  return registry.make<EvictionPolicy>(name, parameters, future);
}

}  // namespace pagelab::testing
