// Retention: what a sequence reads is what an independent model of its policy says, whatever the block size,
// the batching and the preemption; the ledger and the batch when tokens are dropped; what is refused.
#include "core/retention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <functional>

#include "core/error.h"
#include "tests/support/builders.h"
#include "tests/support/hash_device.h"
#include "tests/support/kept_tokens.h"

namespace pagelab {
namespace {

using ::testing::ElementsAre;
using testing::HashDevice;
using ::testing::HasSubstr;
using testing::KeptToken;
using testing::PolicyNames;
using testing::request;
using testing::Run;
using testing::with_retention;

/// The greedy output of a request by a model that knows no slots: it keeps a list of positions.
std::vector<TokenId> expected_output(const HashDevice& device, const Request& request,
                                     const PolicyNames& names) {
  const std::size_t prompt = request.prompt.size();
  std::vector<TokenId> tokens = request.prompt;
  std::vector<KeptToken> kept;
  std::size_t query = 0;
  while (static_cast<std::int64_t>(tokens.size() - prompt) < request.max_output.value()) {
    for (; query < tokens.size(); ++query) {
      kept.push_back({static_cast<std::int32_t>(query)});
      for (KeptToken& key : kept) {
        key.weight += HashDevice::attention(tokens[static_cast<std::size_t>(key.position)], key.position,
                                            static_cast<std::int32_t>(query));
      }
    }
    std::uint64_t hash = HashDevice::first_hash;
    for (const KeptToken& key : kept) {
      hash = HashDevice::extend_hash(hash, tokens[static_cast<std::size_t>(key.position)]);
    }
    tokens.push_back(device.token_of(hash));
    testing::drop_over_budget(names, kept);
  }
  return {tokens.begin() + static_cast<std::ptrdiff_t>(prompt), tokens.end()};
}

RC_GTEST_PROP(Retention, ASequenceReadsExactlyTheTokensThatItsPolicyKeeps, ()) {
  const std::int64_t block_size = *rc::gen::element<std::int64_t>(1, 2, 3, 7, 16);
  const std::int64_t budget = *rc::gen::inRange<std::int64_t>(6, 40);
  PolicyNames names =
      with_retention(*rc::gen::element<std::string>("window", "sinks", "heavy_hitters"), budget);
  names.preemption = *rc::gen::element<std::string>("swap", "recompute");
  names.batching = *rc::gen::element<std::string>("mixed", "chunked");
  names.parameters["batching.max_tokens"] = *rc::gen::inRange<std::int64_t>(1, 60);
  std::vector<Request> requests;
  std::int64_t most = 0;
  for (std::int32_t id = 0, count = *rc::gen::inRange(2, 8); id < count; ++id) {
    requests.push_back(
        request(id, *rc::gen::inRange<std::int64_t>(1, 50), *rc::gen::inRange<std::int64_t>(1, 50)));
    most = std::max<std::int64_t>({most, budget, static_cast<std::int64_t>(requests.back().prompt.size())});
  }
  const std::int64_t blocks = blocks_for(Tokens(most), Tokens(block_size)).value() + *rc::gen::inRange(0, 4);
  HashDevice device(blocks, *rc::gen::inRange<std::int64_t>(0, 2 * blocks), block_size);
  const testing::Run run = testing::run(device, requests, names);
  for (const Request& request : requests) {
    RC_ASSERT(run.record.refused.empty());
    RC_ASSERT(run.record.outputs.at(request.id.value()).at(0).output ==
              expected_output(device, request, names));
  }
  RC_TAG(run.record.count(DecisionKind::preempt_swap) > 0        ? "swapped"
         : run.record.count(DecisionKind::preempt_recompute) > 0 ? "recomputed"
                                                                 : "calm");
}

TEST(Retention, ABudgetThatIsNeverReachedChangesNothing) {
  HashDevice device(64, 0, 4);
  const testing::Run all = testing::run(device, {request(0, 20, 30)});
  for (const std::string name : {"window", "sinks", "heavy_hitters"}) {
    const testing::Run kept = testing::run(device, {request(0, 20, 30)}, with_retention(name, 50));
    EXPECT_EQ(kept.record.outputs.at(0)[0].output, all.record.outputs.at(0)[0].output) << name;
    EXPECT_EQ(kept.record.count(DecisionKind::drop_tokens), 0) << name;
  }
}

TEST(Retention, EachPolicyDropsAnotherToken) {
  std::vector<std::vector<TokenId>> outputs;
  for (const std::string name : {"all", "window", "sinks", "heavy_hitters"}) {
    HashDevice device(64, 0, 4);
    outputs.push_back(
        testing::run(device, {request(0, 20, 30)}, with_retention(name, 10)).record.outputs.at(0)[0].output);
    for (std::size_t other = 0; other + 1 < outputs.size(); ++other) {
      EXPECT_NE(outputs[other], outputs.back()) << name;
    }
    EXPECT_EQ(outputs.front().front(), outputs.back().front()) << "the first token sees the whole prompt";
  }
}

TEST(Retention, HoldsThePromptUntilItIsComputedAndThenTheBudget) {
  HashDevice device(16, 0, 4);
  PolicyNames names = with_retention("window", 8);
  names.batching = "chunked";
  names.parameters["batching.max_tokens"] = std::int64_t{10};
  const testing::Run run = testing::run(device, {request(0, 18, 4)}, names);
  const auto& steps = run.record.steps;
  ASSERT_EQ(steps.size(), 5u);  // two for the prompt
  EXPECT_EQ(steps[1].slots.token, Tokens(18));
  EXPECT_EQ(steps[1].blocks_physical, Blocks(5));
  EXPECT_EQ(steps[1].slots.internal, Tokens(2)) << "the last block goes before it is full";
  for (std::size_t step = 2; step < steps.size(); ++step) {
    EXPECT_EQ(steps[step].slots.token, Tokens(8));
    EXPECT_EQ(steps[step].blocks_physical, Blocks(2));
    EXPECT_EQ(steps[step].slots.internal + steps[step].slots.reserved, Tokens(0));
  }
  std::vector<std::int64_t> dropped;
  for (const auto& event : run.record.events) {
    if (event.kind == DecisionKind::drop_tokens) {
      dropped.push_back(event.tokens);
    }
  }
  EXPECT_THAT(dropped, ElementsAre(11, 1, 1)) << "to seven, and one for each token to come";
}

TEST(Retention, TheSlotThatTheNextTokenWillFillIsReserved) {
  HashDevice device(16, 0, 4);
  PolicyNames names = with_retention("window", 8);
  names.batching = "prefill_first";  // in the second step only the second request runs
  const testing::Run run = testing::run(device, {request(0, 8, 6), request(1, 6, 6, 0.01)}, names);
  const SlotLedger& slots = run.record.steps.at(1).slots;
  EXPECT_EQ(slots.token, Tokens(7 + 6));
  EXPECT_EQ(slots.reserved, Tokens(1 + 2));
  EXPECT_EQ(slots.internal, Tokens(0));
}

TEST(Retention, RecomputingTakesTheSameDecisionsAgain) {
  // Two requests that cannot both have their 12 slots in 5 blocks of 4; one comes back token by token.
  PolicyNames names = with_retention("heavy_hitters", 12);
  names.preemption = "recompute";
  HashDevice device(5, 0, 4);
  const std::vector<Request> requests{request(0, 5, 40), request(1, 5, 40)};
  const testing::Run run = testing::run(device, requests, names);
  EXPECT_GT(run.record.count(DecisionKind::preempt_recompute), 0);
  for (const Request& request : requests) {
    EXPECT_EQ(run.record.outputs.at(request.id.value())[0].output, expected_output(device, request, names));
  }
}

/// A policy made of what it answers.
struct Scripted final : RetentionPolicy {
  Tokens slots{8};
  std::function<void(const SlotsView&, Tokens, std::vector<std::int32_t>&)> answer;
  Tokens budget(const GroupView&) override { return slots; }
  void choose(const SlotsView& view, Tokens least, std::vector<std::int32_t>& drop) override {
    answer(view, least, drop);
  }
};

/// A run whose retention policy is `policy`, of one request of 12 prompt tokens.
Run scripted(std::unique_ptr<Scripted> policy, std::int64_t output = 12) {
  HashDevice device(16, 0, 4);
  VirtualClock clock;
  testing::ListWorkload workload({request(0, 12, output)});
  PolicySet set = testing::policies();
  set.retention = {"scripted", std::move(policy)};
  Run run;
  Engine engine(device, clock, workload, std::move(set), run.record);
  while (engine.step()) {
    engine.check_integrity();
  }
  return run;
}

std::string error_of(std::function<void(const SlotsView&, Tokens, std::vector<std::int32_t>&)> answer,
                     std::int64_t budget = 8) {
  auto policy = std::make_unique<Scripted>();
  policy->slots = Tokens(budget);
  policy->answer = std::move(answer);
  try {
    scripted(std::move(policy));
  } catch (const PolicyError& error) {
    return error.what();
  }
  return "none";
}

TEST(Retention, NamesTheRuleThatAPolicyBreaks) {
  using Drop = std::vector<std::int32_t>;
  EXPECT_THAT(
      error_of([](const SlotsView&, Tokens, Drop& drop) {
        drop = {0, 1, 2, 3};
      }),
      HasSubstr(
          "policy retention/scripted, step 0: it drops 4 slots of request 0, which must lose at least 5"));
  EXPECT_THAT(error_of([](const SlotsView&, Tokens, Drop& drop) {
                drop = {0, 1, 2, 3, 12};
              }),
              HasSubstr("it drops slot 12 of request 0, which has slots 0 to 11"));
  EXPECT_THAT(error_of([](const SlotsView&, Tokens, Drop& drop) {
                drop = {0, -1, 2, 3, 4};
              }),
              HasSubstr("it drops slot -1"));
  EXPECT_THAT(error_of([](const SlotsView&, Tokens, Drop& drop) {
                drop = {3, 1, 2, 3, 4};
              }),
              HasSubstr("it drops slot 3 of request 0 twice"));
  EXPECT_THAT(error_of([](const SlotsView&, Tokens, Drop& drop) {
                drop = {11, 1, 2, 3, 4};
              }),
              HasSubstr("it drops slot 11 of request 0, which holds its newest token"));
  EXPECT_THAT(error_of([](const SlotsView&, Tokens, Drop&) { throw std::runtime_error("no idea"); }),
              HasSubstr("it threw 'no idea'"));
  EXPECT_THAT(error_of([](const SlotsView&, Tokens, Drop&) {}, 1),
              HasSubstr("its budget for request 0 is 1; it must be at least 2"));
}

TEST(Retention, APolicyMayDropMoreThanItMustAndTheRestIsPackedIntoFewerBlocks) {
  auto policy = std::make_unique<Scripted>();
  std::vector<std::vector<std::int32_t>> seen;
  policy->answer = [&seen](const SlotsView& view, Tokens, std::vector<std::int32_t>& drop) {
    seen.emplace_back(view.positions().begin(), view.positions().end());
    for (std::int32_t slot = 0; slot < static_cast<std::int32_t>(view.positions().size()); ++slot) {
      if (view.positions()[static_cast<std::size_t>(slot)] % 2 == 0 &&
          view.positions()[static_cast<std::size_t>(slot)] != view.newest()) {
        drop.push_back(slot);
      }
    }
  };
  const testing::Run run = scripted(std::move(policy), 4);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_THAT(seen[0], ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
  EXPECT_THAT(seen[1], ElementsAre(11, 1, 9, 3, 7, 5, 12, 13)) << "the last ones moved into the holes";
  EXPECT_EQ(run.record.steps.back().blocks_physical, Blocks(2));
}

TEST(Retention, RefusesRequestsOfSeveralSequences) {
  HashDevice device(64, 0, 4);
  const testing::Run run =
      testing::run(device, {testing::parallel(request(0, 8, 8), 3)}, with_retention("window", 16));
  EXPECT_THAT(run.record.refused.at(0), HasSubstr("serves one sequence a request, not 3"));
}

std::string refusal(Device& device, const PolicyNames& names) {
  try {
    testing::run(device, {}, names);
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

/// A device whose kernels cannot.
class PlainDevice final : public Device {
 public:
  DeviceCapacity capacity() const override {
    return {.device_blocks = Blocks(4),
            .host_blocks = Blocks(0),
            .block_size = Tokens(4),
            .block_bytes = Bytes(1),
            .max_positions = Tokens(64),
            .vocabulary = 8};
  }
  void execute(const StepBatch&, StepResult&) override {}
};

TEST(Retention, SaysWhatItCannotBeCombinedWith) {
  HashDevice device(64, 0, 4);
  PolicyNames names = with_retention("window", 16);
  names.allocation = "static_max";
  names.sharing = "none";
  EXPECT_THAT(refusal(device, names), HasSubstr("set policy.allocation.name = \"paged\""));
  names = with_retention("window", 16);
  names.sharing = "pinned_prefix";
  EXPECT_THAT(refusal(device, names), HasSubstr("set policy.sharing.name = \"group\""));
  names.sharing = "prefix_hash";
  EXPECT_THAT(refusal(device, names), HasSubstr("set policy.sharing.name = \"group\""));
  PlainDevice plain;
  EXPECT_THAT(refusal(plain, with_retention("window", 16)), HasSubstr("set policy.retention.name = \"all\""));
  EXPECT_EQ(refusal(plain, with_retention("all", 0)), "none");
}

}  // namespace
}  // namespace pagelab
