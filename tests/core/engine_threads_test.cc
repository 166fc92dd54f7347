// Engines on several threads: a sweep runs one on each, and they share nothing. A data race between two,
// through a static of the engine or of a policy, is ThreadSanitizer's to find; what one decides must not
// depend on the others.
#include <gtest/gtest.h>

#include <thread>

#include "tests/support/builders.h"
#include "tests/support/hash_device.h"

namespace pagelab {
namespace {

using testing::PolicyNames;

/// A run in few blocks, so that sequences are preempted: its outputs, and how many steps it took.
struct Outcome {
  std::map<std::int32_t, std::vector<TokenId>> tokens;
  std::size_t steps = 0;
  bool operator==(const Outcome&) const = default;
};

Outcome outcome(const PolicyNames& names) {
  std::vector<Request> requests;
  for (std::int32_t id = 0; id < 12; ++id) {
    requests.push_back(testing::request(id, 5 + 3 * id % 7, 4 + id % 9, 0.02 * id));
    if (id % 4 == 1) {
      requests.back() = testing::parallel(requests.back(), 3);
    } else if (id % 4 == 2) {
      requests.back() = testing::beams(requests.back(), 2);
    }
  }
  testing::HashDevice device(24, 24, 4);
  const testing::Run run = testing::run(device, std::move(requests), names);
  Outcome made{.tokens = {}, .steps = run.record.steps.size()};
  for (const auto& [id, sequences] : run.record.outputs) {
    for (const FinishedSequence& sequence : sequences) {
      made.tokens[id].insert(made.tokens[id].end(), sequence.output.begin(), sequence.output.end());
    }
  }
  return made;
}

TEST(EnginesOnThreads, DecideWhatOneAloneDecides) {
  std::vector<PolicyNames> choices;
  for (const std::string batching : {"mixed", "prefill_first", "chunked", "static"}) {
    for (const std::string preemption : {"recompute", "swap"}) {
      choices.push_back({.batching = batching, .preemption = preemption});
    }
  }
  std::vector<Outcome> alone;
  for (const PolicyNames& names : choices) {
    alone.push_back(outcome(names));
    EXPECT_EQ(alone.back().tokens.size(), 12u);
  }
  std::vector<Outcome> together(choices.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    threads.emplace_back([&, i] { together[i] = outcome(choices[i]); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(together, alone);
}

}  // namespace
}  // namespace pagelab
