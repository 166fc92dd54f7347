// The scheduling policies: what each does that its neighbours do not, on cases that can be followed by hand,
// and the behaviour that its paper publishes, small and in virtual time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "tests/policies/service_recorder.h"
#include "tests/support/builders.h"
#include "tests/support/hash_device.h"

namespace pagelab {
namespace {

using ::testing::ElementsAre;
using testing::HashDevice;
using testing::PolicyNames;
using testing::request;
using testing::ServiceRecorder;

using Parameters = std::map<std::string, ParameterValue>;

PolicyNames scheduling(const std::string& name, std::int64_t places, const Parameters& own = {}) {
  PolicyNames names{.scheduling = name, .parameters = {{"batching.max_sequences", places}}};
  for (const auto& [key, value] : own) {
    names.parameters["scheduling." + key] = value;
  }
  return names;
}

ServiceRecorder service_of(std::vector<Request> requests, const PolicyNames& names,
                           std::int64_t blocks = 4096) {
  HashDevice device(blocks, blocks, 4);
  VirtualClock clock;
  testing::ListWorkload workload(std::move(requests));
  ServiceRecorder record;
  Engine engine(device, clock, workload, testing::policies(names), record);
  while (engine.step()) {
  }
  return record;
}

/// The order in which requests finish when one runs at a time (steps take 10 ms and 1 ms for each token).
std::vector<std::int32_t> order(const std::vector<Request>& requests, const std::string& name,
                                const Parameters& own = {}) {
  return service_of(requests, scheduling(name, 1, own)).finished;
}

struct Who {
  std::int32_t client = 0, priority = 0;
  double deadline = -1;  ///< negative: none
};
Request from(const Who& who, Request request) {
  request.client = who.client;
  request.priority = who.priority;
  if (who.deadline >= 0) {
    request.deadline = Seconds(who.deadline);
  }
  return request;
}

/// Five requests, all there at the start, that every policy serves in another order.
std::vector<Request> five() {
  return {from({.client = 0, .priority = 1, .deadline = 9}, request(0, 8, 6)),
          from({.client = 0, .priority = 0, .deadline = 2}, request(1, 8, 9)),
          from({.client = 0, .priority = 3}, request(2, 8, 3)),
          from({.client = 1, .priority = 2, .deadline = 4}, request(3, 8, 12)),
          from({.client = 1, .priority = 3, .deadline = 1}, request(4, 8, 1))};
}

TEST(Scheduling, EveryPolicyHasAnOrderOfItsOwn) {
  EXPECT_THAT(order(five(), "fcfs"), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(order(five(), "priority"), ElementsAre(2, 4, 3, 0, 1));
  EXPECT_THAT(order(five(), "sjf"), ElementsAre(4, 2, 0, 1, 3));
  EXPECT_THAT(order(five(), "edf"), ElementsAre(4, 1, 3, 0, 2));
  // Request 0 costs client 0 8 + 2 * 5 = 18, request 3 client 1 8 + 2 * 11 = 30. So 1 follows, and brings
  // client 0 to 18 + 8 + 2 * 8 = 42; then 4.
  EXPECT_THAT(order(five(), "vtc"), ElementsAre(0, 3, 1, 4, 2));
}

TEST(Sjf, GoesByTheWholeLengthAndSrptByWhatIsLeft) {
  // In step 3 request 0 has 7 of 10 tokens left, in step 6 4; request 1 has 5 in all, request 2 has 3.
  const std::vector<Request> requests = {request(0, 4, 10), request(1, 4, 5, 0.026), request(2, 4, 3, 0.1)};
  EXPECT_THAT(order(requests, "sjf"), ElementsAre(0, 2, 1));
  EXPECT_THAT(order(requests, "srpt"), ElementsAre(1, 2, 0));
  // One that has less left than a newcomer's length is not displaced.
  EXPECT_THAT(order({request(0, 4, 10), request(1, 4, 5, 0.08)}, "srpt"), ElementsAre(0, 1));
}

TEST(Priority, AWaitBeyondTheAgeingBoundOutweighsIt) {
  // Request 0 runs; 1 has waited for 40 ms when 2, of a higher priority by 1, comes.
  const auto requests = [](double comes) {
    return std::vector<Request>{request(0, 4, 10), request(1, 4, 3, 0.02),
                                from({.priority = 1}, request(2, 4, 3, comes))};
  };
  const auto ageing = [](double per_s) { return Parameters{{"ageing_per_s", per_s}, {"preemptive", false}}; };
  EXPECT_THAT(order(requests(0.06), "priority", ageing(0)), ElementsAre(0, 2, 1));
  EXPECT_THAT(order(requests(0.06), "priority", ageing(20)), ElementsAre(0, 2, 1)) << "0.04 s * 20 < 1";
  EXPECT_THAT(order(requests(0.06), "priority", ageing(30)), ElementsAre(0, 1, 2)) << "0.04 s * 30 > 1";
}

TEST(Priority, ServesTheHighFirstYetNobodyWaitsForEver) {
  // More urgent requests than can be served, and one that is not urgent.
  std::vector<Request> requests = {from({.priority = 0}, request(0, 4, 4, 0.001))};
  for (std::int32_t id = 1; id <= 100; ++id) {
    requests.push_back(from({.priority = 2}, request(id, 4, 4, 0.03 * (id - 1))));
  }
  std::sort(requests.begin(), requests.end(),
            [](const auto& a, const auto& b) { return a.arrival < b.arrival; });
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].id = RequestId(static_cast<std::int32_t>(i));  // the patient one is number 1
  }
  EXPECT_EQ(order(requests, "priority", {{"ageing_per_s", 0.0}}).back(), 1);
  const auto aged = service_of(requests, scheduling("priority", 1, {{"ageing_per_s", 2.0}}));
  // Only requests that come within 2 / 2 s after it go before it: at 30 ms each no more than 34.
  EXPECT_LE(std::find(aged.finished.begin(), aged.finished.end(), 1) - aged.finished.begin(), 35);
  EXPECT_GE(std::find(aged.finished.begin(), aged.finished.end(), 1) - aged.finished.begin(), 30);
}

TEST(Edf, MeetsDeadlinesThatFcfsMisses) {
  RandomStream random(3, "edf");
  std::vector<Request> requests;
  for (std::int32_t id = 0; id < 120; ++id) {
    const double arrival = 0.05 * id;
    const double slack = random.uniform() < 0.5 ? 0.4 : 8.0;
    requests.push_back(from({.deadline = arrival + slack}, request(id, 8, 4 + id % 9, arrival)));
  }
  const auto met = [&](const std::string& name) {
    return service_of(requests, scheduling(name, 1)).deadlines_met;
  };
  EXPECT_GT(met("edf"), met("fcfs") + 30);
}

// --- Predicted lengths

/// Output lengths of a heavy tail, with ties.
std::vector<Request> long_tailed(std::int32_t count, double gap_s) {
  RandomStream random(5, "lengths");
  std::vector<Request> requests;
  for (std::int32_t id = 0; id < count; ++id) {
    const auto output = static_cast<std::int64_t>(std::exp(random.normal() + 2.0));
    requests.push_back(request(id, 4, std::clamp<std::int64_t>(output, 1, 60), gap_s * id));
  }
  return requests;
}

/// Kendall's tau of the policy's keys against the true lengths; pairs of equal lengths or keys count as half
/// right.
double tau_of_keys(double kendall_tau, const std::vector<Request>& requests) {
  const PolicySet set = testing::policies(scheduling("rank", 1, {{"kendall_tau", kendall_tau}}));
  std::vector<std::pair<std::int64_t, double>> pairs;
  for (const Request& request : requests) {
    SequenceGroup group;
    group.request = request;
    group.live.emplace_back();
    pairs.emplace_back(request.max_output.value(), set.scheduling->key(GroupView(group), Seconds(0)));
  }
  double sum = 0;
  double count = 0;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const auto truth = static_cast<double>(pairs[i].first - pairs[j].first);
      const double predicted = pairs[i].second - pairs[j].second;
      count += truth != 0 ? 1 : 0;
      sum += truth * predicted > 0 ? 1 : truth * predicted < 0 ? -1 : 0;
    }
  }
  return sum / count;
}

TEST(Rank, HasTheKendallTauThatIsAskedFor) {
  const auto tailed = long_tailed(3000, 0);
  std::vector<Request> even;
  for (std::int32_t id = 0; id < 3000; ++id) {
    even.push_back(request(id, 1, 1 + id * 7919 % 3001));
  }
  for (const double tau : {0.0, 0.3, 0.6, 1.0}) {
    EXPECT_NEAR(tau_of_keys(tau, even), tau, 0.04);
    EXPECT_NEAR(tau_of_keys(tau, tailed), tau, 0.04);
  }
}

TEST(Rank, LiesBetweenFcfsAndSjfAndGetsBetterWithTau) {
  const auto requests = long_tailed(300, 0);
  const auto latency = [&](const std::string& name, const Parameters& own = {}) {
    return service_of(requests, scheduling(name, 8, own)).mean_normalized_latency();
  };
  const double fcfs = latency("fcfs");
  const double poor = latency("rank", {{"kendall_tau", 0.3}});
  const double good = latency("rank", {{"kendall_tau", 0.7}});
  const double sjf = latency("sjf");
  EXPECT_GT(fcfs, 1.1 * poor);
  EXPECT_GT(poor, 1.1 * good);
  EXPECT_GT(good, 1.1 * sjf);
  EXPECT_DOUBLE_EQ(latency("rank", {{"kendall_tau", 1.0}}), sjf);
}

double swapping_latency(const std::string& name, const std::vector<Request>& requests) {
  PolicyNames names = scheduling(name, 4);
  names.preemption = "swap";  // which costs this device nothing
  return service_of(requests, names).mean_latency();
}

TEST(Srpt, BeatsFcfsAsSjfDoesOnAHeavyTail) {
  const auto requests = long_tailed(200, 0.025);
  EXPECT_GT(swapping_latency("fcfs", requests), 1.3 * swapping_latency("srpt", requests));
  EXPECT_GT(swapping_latency("fcfs", requests), 1.3 * swapping_latency("sjf", requests));
}

TEST(Srpt, BeatsSjfWhereLongRequestsHoldEveryPlace) {
  std::vector<Request> requests;
  for (std::int32_t id = 0; id < 44; ++id) {
    requests.push_back(request(id, 4, id < 4 ? 200 : 5, id < 4 ? 0 : 0.04 * id));
  }
  EXPECT_GT(swapping_latency("sjf", requests), 3 * swapping_latency("srpt", requests));
}

// --- Multi-level feedback queue

TEST(Mlfq, SinksWithServiceAndALateComerOvertakes) {
  // A quantum of 30 ms is three steps of 11 ms. Request 0 sinks after three steps, and again after six more.
  const std::vector<Request> requests = {request(0, 1, 12), request(1, 1, 3, 0.06), request(2, 1, 3, 0.061)};
  const Parameters own = {{"quantum_s", 0.03}, {"prefill_token_s", 0.0}, {"starve_s", 0.0}};
  EXPECT_THAT(order(requests, "fcfs"), ElementsAre(0, 1, 2));
  EXPECT_THAT(order(requests, "mlfq", own), ElementsAre(1, 2, 0));
  // Without levels it is first come, first served.
  Parameters flat = own;
  flat["levels"] = std::int64_t{1};
  EXPECT_THAT(order(requests, "mlfq", flat), ElementsAre(0, 1, 2));
}

TEST(Mlfq, ALongPromptSkipsTheLevelsThatItWouldOnlySinkThrough) {
  // Request 0 runs when 1, of 20 prompt tokens, and 2 come. With a quantum of 20 ms, 1 joins the second level
  // if a prompt token is expected to take 1 ms + epsilon.
  const std::vector<Request> requests = {request(0, 1, 2), request(1, 20, 1, 0.001), request(2, 1, 2, 0.002)};
  const auto own = [](double prefill_token_s) {
    return Parameters{{"quantum_s", 0.02}, {"prefill_token_s", prefill_token_s}, {"starve_s", 0.0}};
  };
  EXPECT_THAT(order(requests, "mlfq", own(0.0)), ElementsAre(0, 1, 2));
  EXPECT_THAT(order(requests, "mlfq", own(0.0011)), ElementsAre(0, 2, 1));
}

TEST(Mlfq, PromotesWhoWasNotServedForLong) {
  // Short requests keep the first level busy; request 0 sank after its first steps.
  std::vector<Request> requests = {request(0, 1, 8)};
  for (std::int32_t id = 1; id <= 60; ++id) {
    requests.push_back(request(id, 1, 2, 0.01 + 0.02 * id));
  }
  const auto place = [&](double starve_s) {
    const auto done =
        order(requests, "mlfq", {{"quantum_s", 0.03}, {"prefill_token_s", 0.0}, {"starve_s", starve_s}});
    return std::find(done.begin(), done.end(), 0) - done.begin();
  };
  EXPECT_EQ(place(0.0), 60) << "without promotion it is served last";
  EXPECT_LT(place(0.1), 30);
}

TEST(Mlfq, LowersTheMeanNormalizedLatencyOnABimodalLoad) {
  std::vector<Request> requests;
  for (std::int32_t id = 0; id < 200; ++id) {
    requests.push_back(request(id, 4, id % 10 == 0 ? 200 : 5, 0.06 * id));
  }
  const auto latency = [&](const std::string& name, const Parameters& own = {}) {
    PolicyNames names = scheduling(name, 4, own);
    names.preemption = "swap";
    return service_of(requests, names).mean_normalized_latency();
  };
  EXPECT_GT(latency("fcfs"), 2 * latency("mlfq", {{"quantum_s", 0.1}, {"prefill_token_s", 0.001}}));
}

// --- Fairness

constexpr std::int64_t kPrompt = 8, kOutput = 9;

/// Two clients that always have requests waiting; client 1 sends three for each of client 0.
std::vector<Request> greedy_and_modest() {
  std::vector<Request> requests;
  for (std::int32_t id = 0; id < 400; ++id) {
    requests.push_back(from({.client = id % 4 == 0 ? 0 : 1}, request(id, kPrompt, kOutput)));
  }
  return requests;
}

TEST(Vtc, BoundsTheDifferenceInServiceWhereFcfsDoesNot) {
  constexpr std::int64_t blocks = 24;  // of 4 slots: at most 96 tokens in a batch
  const double bound = 2 * std::max<double>(kPrompt, 2 * 4 * blocks);  // 2 U of the paper
  const auto spread = [&](const std::string& name) {
    PolicyNames names = scheduling(name, 6);
    names.parameters["allocation.watermark"] = 0.1;
    return service_of(greedy_and_modest(), names, blocks).service_spread(0, 1, 200);
  };
  EXPECT_LE(spread("vtc"), bound);
  EXPECT_GT(spread("fcfs"), 2 * bound);
}

TEST(Vtc, SharesServiceByWeight) {
  const auto shares = [](const RealList& weights) {
    const auto run = service_of(greedy_and_modest(), scheduling("vtc", 4, {{"weights", weights}}));
    return run.service_of(0, 80) / run.service_of(1, 80);
  };
  EXPECT_NEAR(shares({}), 1.0, 0.15);
  EXPECT_NEAR(shares({1.0, 3.0}), 1.0 / 3, 0.05);
}

TEST(Vtc, GivesNoCreditForIdleness) {
  // Client 1 comes when client 0 has been served for long: the two take turns from then on.
  std::vector<Request> requests;
  for (std::int32_t id = 0; id < 12; ++id) {
    requests.push_back(from({.client = 0}, request(id, 4, 3)));
  }
  for (std::int32_t id = 12; id < 16; ++id) {
    requests.push_back(from({.client = 1}, request(id, 4, 3, 0.2)));
  }
  EXPECT_THAT(order(requests, "vtc"), ElementsAre(0, 1, 2, 3, 4, 5, 12, 6, 13, 7, 14, 8, 15, 9, 10, 11));
}

// --- Cached prefixes

TEST(Lpm, ServesWhatIsCachedFirst) {
  // Request 0 leaves a prefix of 8 tokens in the pool; 3 begins with it, 1 and 2 do not.
  std::vector<Request> requests;
  const auto prefix = request(99, 8, 1).prompt;
  for (std::int32_t id = 0; id < 4; ++id) {
    requests.push_back(request(id, 4, 3, id == 0 ? 0 : 0.001));
    if (id == 0 || id == 3) {
      requests.back().prompt.insert(requests.back().prompt.begin(), prefix.begin(), prefix.end());
      requests.back().shared_prefix = Tokens(8);
    }
  }
  PolicyNames names = scheduling("lpm", 1);
  names.sharing = "pinned_prefix";
  EXPECT_THAT(service_of(requests, names).finished, ElementsAre(0, 3, 1, 2));
  names.scheduling = "fcfs";
  EXPECT_THAT(service_of(requests, names).finished, ElementsAre(0, 1, 2, 3));
}

}  // namespace
}  // namespace pagelab
