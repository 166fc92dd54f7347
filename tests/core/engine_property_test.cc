// Properties of whole runs under random workloads, pools and policies: tokens depend on the request alone, no
// block is lost, every slot is accounted for, everything finishes. The device checks that each sequence reads
// its own KV.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <bit>

#include "tests/support/builders.h"
#include "tests/support/hash_device.h"

namespace pagelab {
namespace {

using testing::HashDevice;
using testing::PolicyNames;
using testing::Run;

constexpr std::int64_t kLongest = 80;  ///< longer than any request here

Request random_request(std::int32_t id) {
  Request made = testing::request(id, *rc::gen::inRange<std::int64_t>(1, 40),
                                  *rc::gen::inRange<std::int64_t>(1, 20), *rc::gen::inRange(0, 20) * 0.01);
  const int kind = *rc::gen::inRange(0, 4);
  if (kind == 1) {
    made = testing::parallel(made, *rc::gen::inRange(1, 5));
  } else if (kind == 2) {
    made = testing::beams(made, *rc::gen::inRange(1, 5));
  }
  made.priority = *rc::gen::inRange(-1, 2);
  if (*rc::gen::inRange(0, 3) == 0) {
    made.forced_output = false;
    made.sampling.eos = *rc::gen::inRange(0, 30);
  }
  made.client = *rc::gen::inRange(0, 3);
  made.priority = *rc::gen::inRange(-2, 3);
  if (*rc::gen::inRange(0, 2) == 0) {
    made.deadline = made.arrival + Seconds(*rc::gen::inRange(0, 100) * 0.01);
  }
  return made;
}

std::vector<Request> random_requests() {
  std::vector<Request> requests;
  const std::vector<TokenId> prefix = testing::request(999, *rc::gen::inRange<std::int64_t>(1, 20), 1).prompt;
  const int count = *rc::gen::inRange(1, 12);
  for (std::int32_t id = 0; id < count; ++id) {
    requests.push_back(random_request(id));
    if (*rc::gen::inRange(0, 2) == 0) {
      Request& request = requests.back();
      const auto shared =
          *rc::gen::inRange<std::ptrdiff_t>(1, static_cast<std::ptrdiff_t>(prefix.size()) + 1);
      request.prompt.insert(request.prompt.begin(), prefix.begin(), prefix.begin() + shared);
      request.shared_prefix = Tokens(shared);
    }
  }
  std::sort(requests.begin(), requests.end(),
            [](const auto& a, const auto& b) { return a.arrival < b.arrival; });
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].id = RequestId(static_cast<std::int32_t>(i));
  }
  return requests;
}

/// Adds a scheduling policy whose state changes within the few tenths of a second that these runs take.
void add_random_scheduling(PolicyNames& names) {
  names.scheduling =
      *rc::gen::element<std::string>("fcfs", "priority", "sjf", "srpt", "rank", "mlfq", "vtc", "lpm", "edf");
  if (names.scheduling == "priority") {
    names.parameters["scheduling.ageing_per_s"] = *rc::gen::element(0.0, 1.0, 100.0);
  }
  if (names.scheduling == "priority" || names.scheduling == "edf") {
    names.parameters["scheduling.preemptive"] = *rc::gen::arbitrary<bool>();
  }
  if (names.scheduling == "mlfq") {
    names.parameters["scheduling.quantum_s"] = *rc::gen::element(0.001, 0.02, 0.1);
    names.parameters["scheduling.levels"] = *rc::gen::inRange<std::int64_t>(1, 5);
    names.parameters["scheduling.starve_s"] = *rc::gen::element(0.0, 0.001, 0.1);
  }
}

/// A HashDevice's K of a token takes 4 bytes.
PolicyNames random_policies(std::int64_t block_size) {
  PolicyNames names;
  names.retention = *rc::gen::element<std::string>("all", "all", "all", "window", "sinks", "heavy_hitters");
  add_random_scheduling(names);
  names.batching =
      *rc::gen::element<std::string>("mixed", "prefill_first", "decode_first", "chunked", "static");
  names.preemption = *rc::gen::element<std::string>("latest", "recompute", "swap", "cost", "lcf", "largest",
                                                    "lowest_priority", "tail");
  if (names.preemption == "cost") {
    names.parameters["preemption.swap_byte_s"] =
        *rc::gen::inRange(0, 8) * 1e-5;  // about as dear as computing
  }
  if (names.retention != "all") {
    names.parameters["retention.budget"] = *rc::gen::inRange<std::int64_t>(6, kLongest);
  }
  names.allocation = names.retention != "all" ? "paged"
                                              : *rc::gen::element<std::string>(
                                                    "paged", "paged", "paged", "buddy_max", "buddy_pow2",
                                                    "buddy_oracle", "static_max", "virtual");
  if (names.allocation == "virtual") {
    names.sharing = "none";
    names.parameters["allocation.page_bytes"] = 4 * block_size;
    names.parameters["allocation.watermark"] = *rc::gen::inRange(0, 3) * 0.1;
  } else if (names.allocation != "paged") {
    names.sharing = "none";
    names.parameters["allocation.max_length"] = std::int64_t{kLongest};
  } else {
    names.sharing =
        names.retention != "all"
            ? *rc::gen::element<std::string>("group", "none")
            : *rc::gen::element<std::string>("group", "none", "pinned_prefix", "prefix_hash", "prefix_radix");
    names.eviction = *rc::gen::element<std::string>("lru", "fifo", "lfu", "clock", "sieve", "s3fifo", "arc",
                                                    "slru", "twoq", "cost");
    names.parameters["allocation.watermark"] = *rc::gen::inRange(0, 3) * 0.1;
  }
  if (names.batching == "static") {
    names.parameters["batching.max_groups"] = *rc::gen::inRange<std::int64_t>(0, 4);
    return names;
  }
  names.parameters["batching.max_tokens"] = *rc::gen::inRange<std::int64_t>(1, 80);
  names.parameters["batching.max_sequences"] = *rc::gen::inRange<std::int64_t>(1, 20);
  return names;
}

/// Those that the policies serve: where tokens are dropped, one sequence a request.
std::vector<Request> served_by(const PolicyNames& names, std::vector<Request> requests) {
  for (Request& request : requests) {
    request.sampling.n = names.retention == "all" ? request.sampling.n : 1;
  }
  return requests;
}

/// Blocks that surely suffice for the largest request: as many runs of the longest sequence, rounded up to a
/// power of two, as it has sequences, where sequences have runs; and the prefix that may be pinned.
std::int64_t largest_need(const std::vector<Request>& requests, const PolicyNames& names,
                          std::int64_t block_size) {
  std::int64_t largest = 1;
  const bool in_blocks = names.allocation == "paged" || names.allocation == "virtual";
  for (const Request& r : requests) {
    const auto prompt = static_cast<std::int64_t>(r.prompt.size());
    const std::int64_t all = prompt + r.max_output.value();
    const std::int64_t slots =
        names.retention == "all"
            ? all
            : std::max(prompt,
                       std::min(all, std::get<std::int64_t>(names.parameters.at("retention.budget"))));
    const std::int64_t paged = blocks_for(Tokens(slots), Tokens(block_size)).value();
    const auto run = static_cast<std::int64_t>(
        std::bit_ceil(static_cast<std::uint64_t>(blocks_for(Tokens(kLongest), Tokens(block_size)).value())));
    largest = std::max(largest, r.sampling.n * (in_blocks ? paged : run));
  }
  return largest +
         (names.sharing == "pinned_prefix" ? blocks_for(Tokens(20), Tokens(block_size)).value() : 0);
}

std::map<std::string, ParameterValue> retention_parameters(const PolicyNames& names) {
  std::map<std::string, ParameterValue> kept;
  std::copy_if(names.parameters.begin(), names.parameters.end(), std::inserter(kept, kept.end()),
               [](const auto& parameter) { return parameter.first.starts_with("retention."); });
  return kept;
}

bool same_tokens(const std::vector<FinishedSequence>& a, const std::vector<FinishedSequence>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.output == y.output && x.logprobs == y.logprobs && x.score == y.score;
  });
}

RC_GTEST_PROP(EngineProperty, TokensDependOnTheRequestAlone, ()) {
  const std::int64_t block_size = *rc::gen::element<std::int64_t>(1, 2, 3, 7, 16, 128);
  const PolicyNames names = random_policies(block_size);
  const auto requests = served_by(names, random_requests());
  const std::int64_t least = largest_need(requests, names, block_size);
  const std::int64_t blocks = *rc::gen::inRange<std::int64_t>(least, least * 2 + 2);
  HashDevice device(blocks, *rc::gen::inRange<std::int64_t>(0, blocks + 1), block_size);
  const Run crowd = testing::run(device, requests, names);
  RC_ASSERT(crowd.record.refused.empty());
  for (const Request& request : requests) {
    HashDevice roomy(1024, 0, 16);
    Request alone = request;
    alone.id = RequestId(0);
    alone.arrival = Seconds(0);
    PolicyNames standard{.retention = names.retention};
    standard.parameters = retention_parameters(names);
    const Run single = testing::run(roomy, {alone}, standard);
    RC_ASSERT(same_tokens(crowd.record.outputs.at(request.id.value()), single.record.outputs.at(0)));
  }
  RC_TAG(crowd.progress.preemptions > 0 ? "preempted" : "calm");
}

RC_GTEST_PROP(EngineProperty, EverySlotIsAccountedForAtEveryStep, ()) {
  const std::int64_t block_size = *rc::gen::inRange<std::int64_t>(1, 33);
  const PolicyNames names = random_policies(block_size);
  const auto requests = served_by(names, random_requests());
  const std::int64_t blocks = largest_need(requests, names, block_size);
  HashDevice device(blocks, blocks, block_size);
  const Run result = testing::run(device, requests, names);
  for (const StepRecord& step : result.record.steps) {
    RC_ASSERT(step.slots.balanced());
    RC_ASSERT(step.slots.total == Tokens(blocks * block_size));
    RC_ASSERT(step.slots.reserved >= Tokens(0) && step.slots.internal >= Tokens(0));
    RC_ASSERT(step.slots.cached >= Tokens(0) && step.slots.external >= Tokens(0) &&
              step.slots.free >= Tokens(0));
    RC_ASSERT((names.allocation != "paged" && names.allocation != "virtual") ||
              step.slots.external == Tokens(0));
  }
}

RC_GTEST_PROP(EngineProperty, TheSameRunTwiceIsTheSame, ()) {
  const PolicyNames names = random_policies(4);
  const auto requests = served_by(names, random_requests());
  const std::int64_t blocks = largest_need(requests, names, 4);
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
