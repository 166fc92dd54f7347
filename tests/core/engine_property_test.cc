// Properties of whole runs under random workloads, pools and policies: tokens depend on the request alone, no
// block is lost, every slot is accounted for, everything finishes. The device checks that each sequence reads
// its own KV.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/support/builders.h"
#include "tests/support/hash_device.h"

namespace pagelab {
namespace {

using testing::HashDevice;
using testing::PolicyNames;
using testing::Run;

Request random_request(std::int32_t id) {
  Request made = testing::request(id, *rc::gen::inRange<std::int64_t>(1, 40),
                                  *rc::gen::inRange<std::int64_t>(1, 20), *rc::gen::inRange(0, 20) * 0.01);
  const int kind = *rc::gen::inRange(0, 4);
  if (kind == 1) {
    made = testing::parallel(made, *rc::gen::inRange(1, 5));
  } else if (kind == 2) {
    made = testing::beams(made, *rc::gen::inRange(1, 5));
  }
  if (*rc::gen::inRange(0, 3) == 0) {
    made.forced_output = false;
    made.sampling.eos = *rc::gen::inRange(0, 30);
  }
  return made;
}

std::vector<Request> random_requests() {
  std::vector<Request> requests;
  const int count = *rc::gen::inRange(1, 12);
  for (std::int32_t id = 0; id < count; ++id) {
    requests.push_back(random_request(id));
  }
  std::sort(requests.begin(), requests.end(),
            [](const auto& a, const auto& b) { return a.arrival < b.arrival; });
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].id = RequestId(static_cast<std::int32_t>(i));
  }
  return requests;
}

PolicyNames random_policies() {
  PolicyNames names;
  names.batching = *rc::gen::element<std::string>("mixed", "prefill_first", "chunked");
  names.preemption = *rc::gen::element<std::string>("latest", "recompute", "swap");
  names.sharing = *rc::gen::element<std::string>("group", "none");
  names.parameters["batching.max_tokens"] = *rc::gen::inRange<std::int64_t>(1, 80);
  names.parameters["batching.max_sequences"] = *rc::gen::inRange<std::int64_t>(1, 20);
  names.parameters["allocation.watermark"] = *rc::gen::inRange(0, 3) * 0.1;
  return names;
}

/// Blocks that the largest request can need.
std::int64_t largest_need(const std::vector<Request>& requests, std::int64_t block_size) {
  std::int64_t largest = 1;
  for (const Request& r : requests) {
    const std::int64_t slots = static_cast<std::int64_t>(r.prompt.size()) + r.max_output.value();
    largest = std::max(largest, r.sampling.n * blocks_for(Tokens(slots), Tokens(block_size)).value());
  }
  return largest;
}

bool same_tokens(const std::vector<FinishedSequence>& a, const std::vector<FinishedSequence>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.output == y.output && x.logprobs == y.logprobs && x.score == y.score;
  });
}

RC_GTEST_PROP(EngineProperty, TokensDependOnTheRequestAlone, ()) {
  const auto requests = random_requests();
  const PolicyNames names = random_policies();
  const std::int64_t block_size = *rc::gen::element<std::int64_t>(1, 2, 3, 7, 16, 128);
  const std::int64_t least = largest_need(requests, block_size);
  const std::int64_t blocks = *rc::gen::inRange<std::int64_t>(least, least * 2 + 2);
  HashDevice device(blocks, *rc::gen::inRange<std::int64_t>(0, blocks + 1), block_size);
  const Run crowd = testing::run(device, requests, names);
  RC_ASSERT(crowd.record.refused.empty());
  for (const Request& request : requests) {
    HashDevice roomy(1024, 0, 16);
    Request alone = request;
    alone.id = RequestId(0);
    alone.arrival = Seconds(0);
    const Run single = testing::run(roomy, {alone});
    RC_ASSERT(same_tokens(crowd.record.outputs.at(request.id.value()), single.record.outputs.at(0)));
  }
  RC_TAG(crowd.progress.preemptions > 0 ? "preempted" : "calm");
}

RC_GTEST_PROP(EngineProperty, EverySlotIsAccountedForAtEveryStep, ()) {
  const auto requests = random_requests();
  const PolicyNames names = random_policies();
  const std::int64_t block_size = *rc::gen::inRange<std::int64_t>(1, 33);
  const std::int64_t blocks = largest_need(requests, block_size);
  HashDevice device(blocks, blocks, block_size);
  const Run result = testing::run(device, requests, names);
  for (const StepRecord& step : result.record.steps) {
    RC_ASSERT(step.slots.balanced());
    RC_ASSERT(step.slots.total == Tokens(blocks * block_size));
    RC_ASSERT(step.slots.reserved >= Tokens(0) && step.slots.internal >= Tokens(0));
    RC_ASSERT(step.blocks_physical <= step.blocks_logical);
  }
}

RC_GTEST_PROP(EngineProperty, TheSameRunTwiceIsTheSame, ()) {
  const auto requests = random_requests();
  const PolicyNames names = random_policies();
  const std::int64_t blocks = largest_need(requests, 4);
  HashDevice first_device(blocks, blocks, 4);
  HashDevice second_device(blocks, blocks, 4);
  const Run first = testing::run(first_device, requests, names);
  const Run second = testing::run(second_device, requests, names);
  RC_ASSERT(first.record.events.size() == second.record.events.size());
  for (std::size_t i = 0; i < first.record.events.size(); ++i) {
    RC_ASSERT(first.record.events[i].kind == second.record.events[i].kind);
    RC_ASSERT(first.record.events[i].request == second.record.events[i].request);
  }
}

}  // namespace
}  // namespace pagelab
