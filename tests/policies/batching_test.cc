// The batching policies: what decode_first does that the others do not, and who stalls: chunked never makes a
// running sequence wait for a prompt, prefill_first does (Sarathi-Serve, OSDI 2024).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/policies/serve.h"
#include "tests/support/builders.h"

namespace pagelab {
namespace {

using ::testing::ElementsAre;
using testing::PolicyNames;
using testing::request;
using testing::serve;

/// The step in which a request is admitted.
std::int64_t admitted(const testing::Run& run, std::int32_t request) {
  const auto event = std::find_if(run.record.events.begin(), run.record.events.end(), [&](const auto& e) {
    return e.kind == DecisionKind::admit && e.request == request;
  });
  return event == run.record.events.end() ? -1 : event->step;
}

bool mixes(const testing::Run& run) {
  return std::any_of(run.record.steps.begin(), run.record.steps.end(), [](const StepRecord& step) {
    return step.tokens_prefill > Tokens(0) && step.tokens_decode > Tokens(0);
  });
}

/// The longest time from the end of one step in which a request took part to the end of the next.
double longest_pause(const testing::Run& run, std::int32_t request) {
  double longest = 0;
  double last = -1;
  for (const auto& event : run.record.events) {
    if (event.request == request &&
        (event.kind == DecisionKind::admit || event.kind == DecisionKind::proceed)) {
      const StepRecord& step = run.record.steps[static_cast<std::size_t>(event.step)];
      const double end = (step.time + step.duration).value();
      longest = last < 0 ? 0 : std::max(longest, end - last);
      last = end;
    }
  }
  return longest;
}

// Request 0 draws its six tokens in steps 0 to 5; request 1 comes during step 0.
const std::vector<Request> one_decodes_when_another_comes = {request(0, 4, 6), request(1, 4, 3, 0.012)};

TEST(DecodeFirst, LetsAPromptWaitUntilTheDecodesAreDone) {
  const auto run = serve(one_decodes_when_another_comes, {.batching = "decode_first"});
  EXPECT_EQ(admitted(run, 1), 6);
  EXPECT_FALSE(mixes(run));
  // The others take the prompt at once: in a step of its own, or beside the decode.
  const auto prompts = serve(one_decodes_when_another_comes, {.batching = "prefill_first"});
  EXPECT_EQ(admitted(prompts, 1), 1);
  EXPECT_FALSE(mixes(prompts));
  for (const char* name : {"mixed", "chunked"}) {
    const auto together = serve(one_decodes_when_another_comes, {.batching = name});
    EXPECT_EQ(admitted(together, 1), 1) << name;
    EXPECT_TRUE(mixes(together)) << name;
  }
}

TEST(DecodeFirst, AnswersEachRequestAtItsEndAndRefillsBelowItsMark) {
  const std::vector<Request> requests = {request(0, 4, 2), request(1, 4, 8), request(2, 4, 2, 0.001)};
  const auto finished_in = [](const testing::Run& run, std::int32_t id) {
    const auto event = std::find_if(run.record.events.begin(), run.record.events.end(), [&](const auto& e) {
      return e.kind == DecisionKind::finish && e.request == id;
    });
    return event->step;
  };
  const auto patient = serve(requests, {.batching = "decode_first"});
  EXPECT_THAT(patient.record.finished, ElementsAre(0, 1, 2));
  EXPECT_EQ(finished_in(patient, 0), 1);
  EXPECT_EQ(admitted(patient, 2), 8);
  // With a mark of 2, request 2 gets a step when request 0 has ended and only request 1 runs.
  const auto refilled = serve(
      requests, {.batching = "decode_first", .parameters = {{"batching.refill_below", std::int64_t{2}}}});
  EXPECT_EQ(admitted(refilled, 2), 2);
  EXPECT_FALSE(mixes(refilled));
  EXPECT_THAT(refilled.record.finished, ElementsAre(0, 2, 1));
  // A static batch is refilled when it is done, too, but answers request 0 only then.
  const auto fixed = serve(requests, {.batching = "static"});
  EXPECT_EQ(admitted(fixed, 2), 8);
  EXPECT_EQ(fixed.record.finished.size(), 3u);
}

TEST(DecodeFirst, FillsAStepOfPromptsUpToItsLimits) {
  std::vector<Request> requests;
  for (std::int32_t id = 0; id < 5; ++id) {
    requests.push_back(request(id, 4, 3));
  }
  const auto run = serve(
      requests, {.batching = "decode_first", .parameters = {{"batching.max_tokens", std::int64_t{12}}}});
  EXPECT_EQ(run.record.steps[0].tokens_prefill, Tokens(12));
  EXPECT_EQ(admitted(run, 3), 3) << "after the first three are done";
}

// --- Stalls. A step takes 10 ms and 1 ms for each token.

/// Request 0 decodes all along; three prompts of 100 tokens come one after the other while it does.
std::vector<Request> prompts_beside_a_decode() {
  return {request(0, 4, 60), request(1, 100, 4, 0.05), request(2, 100, 4, 0.06), request(3, 100, 4, 0.19)};
}

TEST(Chunked, IsStallFree) {
  const auto run = serve(prompts_beside_a_decode(),
                         {.batching = "chunked", .parameters = {{"batching.max_tokens", std::int64_t{16}}}});
  // Request 0 takes part in every step until it ends, and no step is longer than its budget allows.
  for (std::int64_t step = 0; step < 60; ++step) {
    EXPECT_TRUE(std::any_of(run.record.events.begin(), run.record.events.end(),
                            [&](const auto& e) { return e.step == step && e.request == 0; }))
        << "step " << step;
  }
  EXPECT_NEAR(longest_pause(run, 0), 0.010 + 0.016, 1e-9);
  EXPECT_EQ(run.record.steps[5].tokens_prefill, Tokens(15)) << "the prompts fill the budget";
}

TEST(PrefillFirst, StallsDecodesForAsLongAsPromptsCome) {
  const auto run =
      serve(prompts_beside_a_decode(),
            {.batching = "prefill_first", .parameters = {{"batching.max_tokens", std::int64_t{100}}}});
  // Three steps of a prompt each, then the next decode, of four sequences.
  EXPECT_NEAR(longest_pause(run, 0), 3 * 0.110 + 0.014, 1e-9);
}

TEST(Mixed, MakesADecodeWaitForAWholePromptBesideIt) {
  const auto run = serve(prompts_beside_a_decode(),
                         {.batching = "mixed", .parameters = {{"batching.max_tokens", std::int64_t{101}}}});
  EXPECT_NEAR(longest_pause(run, 0), 0.010 + 0.101, 1e-9);
}

TEST(DecodeFirst, NeverStallsButServesPromptsLate) {
  const auto run = serve(prompts_beside_a_decode(), {.batching = "decode_first"});
  EXPECT_NEAR(longest_pause(run, 0), 0.011, 1e-9);
  EXPECT_EQ(admitted(run, 1), 60);
}

}  // namespace
}  // namespace pagelab
