// The conformance kit: what policies that are bad on purpose are told, how small the cases are that show it,
// and that legal but slow ones pass while metrics show that they are slow.
#include "experiments/check/check_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/config.h"
#include "experiments/check/isolated.h"
#include "policies/builtin.h"
#include "tests/policies/bad_policies.h"

namespace pagelab {
namespace {

using ::testing::HasSubstr;

/// The built-in policies, and the bad one of that name.
PolicyRegistry registry_with(const std::string& bad = "") {
  PolicyRegistry registry;
  register_builtin_policies(registry);
  testing::register_bad_policy(registry, bad);
  return registry;
}

CheckReport check(const std::string& axis, const std::string& name, std::int64_t cases = 300) {
  return check_policy(registry_with(name), {.checked = {axis, name}, .cases = cases, .silence_s = 60});
}

/// A policy that must be caught, the words it must be told, and the most requests that the case may need.
struct Bad {
  std::string axis, name;
  Fault fault = Fault::contract;
  std::string text;
  std::size_t requests = 1;
};

void PrintTo(const Bad& bad, std::ostream* out) {
  *out << bad.axis << "/" << bad.name;
}

class BadPolicy : public ::testing::TestWithParam<Bad> {};

TEST_P(BadPolicy, IsCaughtByNameWithASmallCase) {
  const Bad& bad = GetParam();
  const CheckReport report = check(bad.axis, bad.name);
  ASSERT_TRUE(report.failure.has_value());
  const CheckCase& smallest = report.failure->smallest;
  EXPECT_EQ(report.failure->fault, bad.fault) << report.failure->text;
  EXPECT_THAT(report.failure->text, HasSubstr(bad.text));
  EXPECT_LE(smallest.requests.size(), bad.requests) << case_toml(smallest);
  for (const CheckedPolicy& policy : smallest.policies) {
    EXPECT_TRUE(policy.parameters.empty() || policy.axis != bad.axis);
  }
  if (bad.fault == Fault::contract) {
    const PolicyRegistry registry = registry_with(bad.name);
    const CaseVerdict again = run_case(experiment_of(smallest, registry), registry);
    EXPECT_EQ(again.fault, bad.fault);
    EXPECT_EQ(again.text, report.failure->text) << "the printed case is the one that was judged";
    EXPECT_THAT(again.text, HasSubstr("policy " + bad.axis + "/" + bad.name + ", step "));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Breaking, BadPolicy,
    ::testing::Values(
        Bad{"scheduling", "bad_nan", Fault::contract, "the key of request 0 is not a number"},
        Bad{"scheduling", "bad_throwing", Fault::contract, "it threw 'no place for a long prompt'"},
        Bad{"scheduling", "bad_throwing_a_number", Fault::contract, "it threw what is no std::exception"},
        Bad{"scheduling", "bad_fickle", Fault::determinism, "the second", 3},
        Bad{"scheduling", "bad_crashing", Fault::crash, "SIGABRT"},
        Bad{"batching", "bad_one_too_many", Fault::contract, "it granted request 0 2 tokens of 1 pending"},
        Bad{"batching", "bad_negative", Fault::contract, "it granted request 1 -1 tokens of 1 pending", 2},
        Bad{"batching", "bad_nothing", Fault::contract, "none got a token"},
        Bad{"batching", "bad_running_twice", Fault::contract,
            "running, swapped and waiting, each of them once"},
        Bad{"preemption", "bad_out_of_range", Fault::contract, "it chose candidate 1 of 1", 2},
        Bad{"preemption", "bad_reasonless", Fault::contract, "it gave no reason", 2},
        Bad{"allocation", "bad_too_little", Fault::contract, "it reserves 12 slots for 13 known tokens"},
        Bad{"allocation", "bad_negative_watermark", Fault::contract, "its watermark is -4 blocks", 2},
        Bad{"allocation", "bad_no_headroom", Fault::contract, "its headroom for request 0 is"},
        Bad{"allocation", "bad_growing", Fault::contract, "where it just reserved", 2},
        Bad{"allocation", "bad_same_run", Fault::contract, "it hands out block 0, which is not free", 2},
        Bad{"allocation", "bad_leaking_runs", Fault::contract, "now that nothing runs there is no room", 3},
        Bad{"eviction", "bad_in_use", Fault::contract, "which is", 2},
        Bad{"eviction", "bad_no_entry", Fault::contract, "which is not cached", 2},
        Bad{"eviction", "bad_forgets_the_cached", Fault::contract, "it forgets entry", 2}),
    [](const auto& bad) { return bad.param.axis + "_" + bad.param.name; });

TEST(CheckPolicy, CatchesAPolicyThatNeverAnswers) {
  const CheckReport report = check_policy(
      registry_with("bad_silent"),
      {.checked = {"scheduling", "bad_silent"}, .cases = 100, .silence_s = 3, .shrink = {.tries = 0}});
  ASSERT_TRUE(report.failure.has_value());
  EXPECT_EQ(report.failure->fault, Fault::silence);
  EXPECT_THAT(report.failure->text, HasSubstr("nothing was heard of it"));
}

TEST(CheckPolicy, CatchesAPolicyThatStarvesARequestAgainstItsPromise) {
  const CheckReport report =
      check_policy(registry_with("bad_starving"),
                   {.checked = {"scheduling", "bad_starving"}, .cases = 300, .shrink = {.tries = 0}});
  ASSERT_TRUE(report.failure.has_value());
  EXPECT_EQ(report.failure->fault, Fault::starvation);
  EXPECT_THAT(report.failure->text, HasSubstr("requests that came after request 1 were answered before it"));
}

TEST(CheckPolicy, LetsSlowPoliciesPass) {
  for (const auto& [axis, name] : {std::pair{"scheduling", "bad_reverse"},
                                   {"preemption", "bad_thrash"},
                                   {"eviction", "bad_most_recent"}}) {
    const CheckReport report = check(axis, name, 200);
    EXPECT_FALSE(report.failure.has_value()) << axis << "/" << name << ": " << report.failure->text;
  }
}

TEST(CheckPolicy, PrintsACaseThatReadsBackAsTheSameExperiment) {
  const PolicyRegistry registry = registry_with();
  const CaseSource source(registry, {"preemption", "swap"}, 5);
  for (std::int64_t number = 0; number < 20; ++number) {
    CheckCase drawn = source.draw(number, 0);
    drawn.device_blocks = 9;
    const std::string text = case_toml(drawn, "two lines\nof heading");
    EXPECT_THAT(text, ::testing::StartsWith("# two lines\n# of heading\n"));
    const Experiment read = resolve_experiment(parse_config(text, "case.toml"), "case", registry);
    EXPECT_EQ(read.device.device_blocks, Blocks(9));
    EXPECT_EQ(read.workload.sampling.method, drawn.method);
    EXPECT_EQ(make_workload(read.workload, read.seed, read.device.vocabulary)->total(),
              static_cast<std::int64_t>(drawn.requests.size()));
  }
}

TEST(CheckPolicy, DrawsTheSameCasesFromTheSameSeed) {
  const PolicyRegistry registry = registry_with();
  const CaseSource one(registry, {"batching", "chunked"}, 7);
  const CaseSource other(registry, {"batching", "chunked"}, 7);
  const CaseSource another(registry, {"batching", "chunked"}, 8);
  EXPECT_EQ(case_toml(one.draw(3, 1)), case_toml(other.draw(3, 1)));
  EXPECT_NE(case_toml(one.draw(3, 1)), case_toml(another.draw(3, 1)));
  EXPECT_NE(case_toml(one.draw(3, 1)), case_toml(one.draw(4, 1)));
}

TEST(CheckPolicy, KeepsWhatItIsTold) {
  const PolicyRegistry registry = registry_with();
  const CheckedChoice told{
      "batching",
      "chunked",
      {{"batching", "max_tokens", std::int64_t{5}}, {"sharing", "name", std::string("none")}}};
  const CaseSource source(registry, told, 1);
  for (std::int64_t number = 0; number < 30; ++number) {
    const std::string text = case_toml(source.draw(number, 0));
    EXPECT_THAT(text, HasSubstr("\nmax_tokens = 5\n"));
    EXPECT_THAT(text, HasSubstr("[policy.sharing]\nname = \"none\"\n"));
  }
}

TEST(Isolated, TellsHowAChildEndedAndWhatItSaid) {
  std::vector<std::string> lines;
  const Say keep = [&](std::string_view line) { lines.emplace_back(line); };
  EXPECT_TRUE(run_isolated([](const Say& say) { say("one"), say("two"); }, keep, 10).completed);
  EXPECT_EQ(lines, (std::vector<std::string>{"one", "two"}));
  const IsolatedEnd thrown = run_isolated([](const Say&) { throw std::runtime_error("no more"); }, keep, 10);
  EXPECT_FALSE(thrown.completed);
  EXPECT_THAT(thrown.errors, HasSubstr("no more"));
}

/// Every policy of an axis that a run can have: the whole library keeps its contract.
class EveryPolicyOf : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryPolicyOf, TheAxisKeepsItsContract) {
#ifdef NDEBUG
  constexpr std::int64_t cases = 250;
#else
  constexpr std::int64_t cases = 25;
#endif
  PolicyRegistry builtin;
  register_builtin_policies(builtin);
  for (const PolicyEntry& entry : builtin.axis(GetParam()).policies) {
    if (entry.info.needs == "future") {
      continue;
    }
    const CheckReport report =
        check_policy(builtin, {.checked = {GetParam(), entry.info.name}, .cases = cases, .silence_s = 120});
    EXPECT_FALSE(report.failure.has_value())
        << GetParam() << "/" << entry.info.name << ": " << text_of(report.failure->fault) << ": "
        << report.failure->text << "\n"
        << case_toml(report.failure->smallest);
    EXPECT_EQ(report.counts.cases, report.failure ? report.counts.cases : cases);
  }
}

std::vector<std::string> axis_names() {
  std::vector<std::string> names;
  const PolicyRegistry bare;
  for (const PolicyRegistry::AxisEntry& axis : bare.axes()) {
    names.emplace_back(axis.name);
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Builtin, EveryPolicyOf, ::testing::ValuesIn(axis_names()),
                         [](const auto& axis) { return axis.param; });

}  // namespace
}  // namespace pagelab
