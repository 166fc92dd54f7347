// Every eviction policy under random events: the contract holds, nothing is lost, the same events give the
// same victims, and the policies agree with models that were written from the papers.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/policies/eviction_cache.h"

namespace pagelab {
namespace {

using testing::EvictionCache;
using testing::EvictionModel;
using testing::make_eviction;

struct Event {
  enum class Kind { reference, use, continuation, let_go };
  Kind kind;
  int content;
  int other;
};

std::ostream& operator<<(std::ostream& out, const Event& event) {
  constexpr const char* kinds[] = {"reference", "use", "continuation", "let_go"};
  return out << kinds[static_cast<int>(event.kind)] << ' ' << event.content << '/' << event.other;
}

rc::Gen<std::vector<Event>> events() {
  using Kind = Event::Kind;
  const auto kind = rc::gen::weightedElement<Kind>(
      {{10, Kind::reference}, {3, Kind::use}, {2, Kind::continuation}, {3, Kind::let_go}});
  const auto content = rc::gen::inRange(0, 20);
  return rc::gen::scale(6.0, rc::gen::container<std::vector<Event>>(
                                 rc::gen::map(rc::gen::tuple(kind, content, content), [](const auto& t) {
                                   return Event{std::get<0>(t), std::get<1>(t), std::get<2>(t)};
                                 })));
}

/// For each event the place of the next reference of its content.
std::vector<std::int64_t> next_references(const std::vector<Event>& events) {
  std::vector<std::int64_t> next(events.size(), Future::never);
  std::map<int, std::int64_t> seen;
  for (std::size_t i = events.size(); i-- > 0;) {
    if (events[i].kind != Event::Kind::let_go) {
      const auto found = seen.find(events[i].content);
      next[i] = found == seen.end() ? Future::never : found->second;
      seen[events[i].content] = static_cast<std::int64_t>(i);
    }
  }
  return next;
}

/// Runs the events, and then evicts everything; returns all victims.
std::vector<int> run(const std::string& name, std::int64_t capacity, const std::vector<Event>& events,
                     EvictionModel* model = nullptr) {
  std::vector<std::int64_t> next_use(256);
  const Future future(next_use);
  const auto policy = make_eviction(name, &future);
  EvictionCache cache(*policy, capacity, model, next_use);
  const std::vector<std::int64_t> next = next_references(events);
  for (std::size_t i = 0; i < events.size(); ++i) {
    const auto [kind, content, other] = events[i];
    switch (kind) {
      case Event::Kind::reference:
      case Event::Kind::use:
        cache.reference(content, kind == Event::Kind::use, content % 4, {}, next[i]);
        break;
      case Event::Kind::continuation:
        cache.reference(content, false, content % 4, other == content ? std::nullopt : std::optional(other),
                        next[i]);
        break;
      case Event::Kind::let_go:
        if (cache.in_use(content)) {
          cache.let_go(content);
        }
        break;
    }
  }
  cache.evict_all();
  return cache.victims();
}

std::vector<std::string> all_policies() {
  PolicyRegistry registry;
  register_builtin_policies(registry);
  std::vector<std::string> names;
  for (const PolicyEntry& policy : registry.axis("eviction").policies) {
    names.push_back(policy.info.name);
  }
  return names;
}

RC_GTEST_PROP(EvictionProperty, EveryPolicyKeepsItsContractAndRepeatsItself, ()) {
  const auto capacity = *rc::gen::inRange<std::int64_t>(1, 13);
  const auto trace = *events();
  for (const std::string& name : all_policies()) {
    try {
      RC_ASSERT(run(name, capacity, trace) == run(name, capacity, trace));
    } catch (const std::logic_error& error) {
      RC_FAIL(name + ": " + error.what());
    }
  }
}

RC_GTEST_PROP(EvictionProperty, PoliciesAgreeWithModelsFromThePapers, ()) {
  const auto capacity = *rc::gen::inRange<std::int64_t>(1, 13);
  const auto blocks = static_cast<std::size_t>(capacity);
  const auto trace = *events();
  std::map<std::string, std::unique_ptr<EvictionModel>> models;
  models["lru"] = std::make_unique<testing::LruModel>();
  models["fifo"] = std::make_unique<testing::FifoModel>();
  models["lfu"] = std::make_unique<testing::LfuModel>();
  models["sieve"] = std::make_unique<testing::SieveModel>();
  models["s3fifo"] = std::make_unique<testing::S3FifoModel>(blocks);
  models["arc"] = std::make_unique<testing::ArcModel>(blocks);
  for (const auto& [name, model] : models) {
    try {
      run(name, capacity, trace, model.get());
    } catch (const std::logic_error& error) {
      RC_FAIL(name + ": " + error.what());
    }
  }
}

}  // namespace
}  // namespace pagelab
