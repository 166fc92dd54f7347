#include "experiments/experiment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <regex>
#include <sstream>

#include "policies/builtin.h"
#include "tests/experiments/files.h"
#include "tests/support/source_dir.h"

namespace pagelab {
namespace {

using test::error_of;
using test::TemporaryFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const PolicyRegistry& registry() {
  static const PolicyRegistry filled = [] {
    PolicyRegistry made;
    register_builtin_policies(made);
    return made;
  }();
  return filled;
}

const std::filesystem::path kExamples = test::source_dir() / "experiments";

Experiment resolve(const std::string& toml, const std::vector<std::string>& overrides = {},
                   const std::string& name = "e.toml") {
  return resolve_experiment(parse_config(toml, name, overrides), "e", registry());
}

const std::string kSmallest = "model = {shape = \"opt-125m\"}\nworkload = {requests = 1}\n";

std::string error(const std::string& toml, const std::vector<std::string>& overrides = {}) {
  return error_of([&] { resolve(toml, overrides); });
}

TEST(Experiment, HasADefaultForAllButModelAndRequests) {
  const Experiment e = resolve(kSmallest);
  EXPECT_EQ(e.name, "e");
  EXPECT_EQ(e.seed, 1u);
  EXPECT_EQ(e.model.location, "opt-125m");
  EXPECT_FALSE(e.model.is_path);
  EXPECT_EQ(e.model.dtype, std::nullopt);
  EXPECT_EQ(e.device.kind, "cpu");
  EXPECT_EQ(e.device.block_size, Tokens(16));
  EXPECT_EQ(e.step_cost.has_value(), false);
  EXPECT_EQ(e.workload.lengths.kind, "fixed");
  EXPECT_EQ(e.workload.arrivals.kind, "all_at_once");
  EXPECT_TRUE(e.workload.forced_output);
  EXPECT_EQ(e.workload.sampling.method, Sampling::Method::greedy);
  EXPECT_EQ(e.workload.sampling.eos, std::nullopt);
  ASSERT_EQ(e.policies.size(), 7u);
  EXPECT_EQ(e.policies[1].axis, "batching");
  EXPECT_EQ(e.policies[1].name, "mixed");
  EXPECT_EQ(e.policies[1].parameters.integer("max_tokens"), 2560);
}

TEST(Experiment, ReadsEverySection) {
  const Experiment e = resolve(
      "name = \"x-1\"\nseed = 9\n[model]\npath = \"ckpt\"\ndtype = \"f16\"\n[device]\nthreads = "
      "3\nblock_size = 8\n"
      "device_blocks = 10\nhost_blocks = 0\nkv_dtype = \"f32\"\n[clock]\nkind = \"virtual\"\nstep_s = 0.25\n"
      "[workload]\nrequests = 4\n[sampling]\nmethod = \"beam\"\nn = 4\nlength_penalty = 0.5\neos = 2\n"
      "forced_output = false\n[policy.batching]\nname = \"chunked\"\n[output]\ndecisions = true\ntrace = "
      "false\n");
  EXPECT_EQ(e.name, "x-1");
  EXPECT_EQ(e.seed, 9u);
  EXPECT_EQ(e.model.location, (std::filesystem::current_path() / "ckpt").string());
  EXPECT_TRUE(e.model.is_path);
  EXPECT_EQ(e.model.dtype, kernels::DType::f16);
  EXPECT_EQ(e.device.threads, 3);
  EXPECT_EQ(e.device.kv_dtype, kernels::DType::f32);
  EXPECT_EQ(e.device.host_blocks, Blocks(0));
  EXPECT_EQ(e.step_cost.value().step_s, 0.25);
  EXPECT_EQ(e.workload.sampling.method, Sampling::Method::beam);
  EXPECT_EQ(e.workload.sampling.n, 4);
  EXPECT_EQ(e.workload.sampling.eos, 2);
  EXPECT_FALSE(e.workload.forced_output);
  EXPECT_EQ(e.policies[1].name, "chunked");
  EXPECT_TRUE(e.output.decisions);
  EXPECT_FALSE(e.output.trace);
}

TEST(Experiment, ReadsHowTheWorkloadEndsAndWhatIsWritten) {
  const Experiment plain = resolve(kSmallest);
  EXPECT_EQ(plain.workload.duration, Seconds(0));
  EXPECT_EQ(plain.workload.prefix, Tokens(0));
  EXPECT_TRUE(plain.output.steps);
  EXPECT_TRUE(plain.output.requests);
  const Experiment e = resolve(kSmallest, {"workload.duration_s=900", "workload.prefix_tokens=80",
                                           "output.steps=false", "output.requests=false"});
  EXPECT_EQ(e.workload.duration, Seconds(900));
  EXPECT_EQ(e.workload.prefix, Tokens(80));
  EXPECT_FALSE(e.output.steps);
  EXPECT_FALSE(e.output.requests);
}

TEST(Experiment, WantsToKnowWhenTheWorkloadEnds) {
  const std::string model = "[model]\nshape = \"gpt2\"\n[workload]\n";
  EXPECT_EQ(error(model),
            "e.toml:3: key 'workload.requests' must be at least 1 with lengths of kind 'fixed', which "
            "have no end, or else duration_s must be given");
  EXPECT_THAT(error(model + "duration_s = 5\n"),
              HasSubstr("and arrivals of kind 'all_at_once', which duration_s"));
  EXPECT_EQ(error(model + "duration_s = 5\narrivals = {kind = \"poisson\"}\n"), "no error");
  const std::string trace = "lengths = {kind = \"trace\", file = \"t\"";
  EXPECT_EQ(error(model + trace + "}\n"), "no error");
  EXPECT_THAT(error(model + trace + ", repeat = true}\n"),
              HasSubstr("lengths of kind 'trace', which have no end"));
}

TEST(Experiment, IncludesAreResolvedInWhatIsWritten) {
  const TemporaryFolder folder;
  folder.write("base/model.toml", "[model]\npath = \"weights\"\n[workload]\nrequests = 3\n");
  folder.write("systems/s.toml", "[policy.batching]\nname = \"chunked\"\n");
  const std::string top = folder.write(
      "e.toml", "include = [\"base/model.toml\", \"systems/s.toml\"]\n[workload]\nrequests = 4\n");
  const Experiment e = read_experiment(top, std::vector<std::string>{"seed=5"}, registry());
  EXPECT_EQ(e.workload.requests, 4);
  EXPECT_EQ(e.seed, 5u);
  EXPECT_EQ(e.policies[1].name, "chunked");
  EXPECT_EQ(e.model.location, (folder.path() / "base/weights").string());
  const std::string text = experiment_toml(e, folder.path() / "runs");
  EXPECT_THAT(text, AllOf(HasSubstr("path = \"../base/weights\""), ::testing::Not(HasSubstr("include ="))));
  const Experiment again = read_experiment(folder.write("runs/e.toml", text), {}, registry());
  EXPECT_EQ(experiment_toml(again, folder.path() / "runs"), text);
}

TEST(Experiment, ErrorsNameTheIncludedFile) {
  const TemporaryFolder folder;
  folder.write("base.toml", "[model]\nshape = \"opt-125m\"\n[workload]\nrequest = 3\n");
  const std::string top = folder.write("e.toml", "include = [\"base.toml\"]\n");
  EXPECT_THAT(
      error_of([&] { read_experiment(top, {}, registry()); }),
      AllOf(StartsWith((folder.path() / "base.toml").string() + ":4: key 'workload.request' is unknown"),
            HasSubstr("did you mean 'requests'?")));
}

TEST(Experiment, MakesItsPolicies) {
  const PolicySet set =
      make_policies(resolve(kSmallest + "policy = {preemption = {name = \"swap\"}}\n"), registry());
  EXPECT_EQ(set.preemption.name, "swap");
  EXPECT_EQ(set.scheduling.name, "fcfs");
  EXPECT_NE(set.sharing.policy, nullptr);
}

TEST(Experiment, WantsExactlyOneModel) {
  EXPECT_THAT(error("[workload]\nrequests = 1\n[model]\n"),
              StartsWith("e.toml:3: key 'model.shape' is missing, and so is 'model.path'"));
  EXPECT_THAT(error("[model]\nshape = \"gpt2\"\npath = \"x\"\n"),
              StartsWith("e.toml:2: key 'model.shape' and 'model.path' are both set"));
  EXPECT_THAT(error("[model]\nshape = \"opt-126m\"\n"),
              AllOf(StartsWith("e.toml:2: key 'model.shape' must be one of: "),
                    HasSubstr("did you mean 'opt-125m'?")));
}

TEST(Experiment, RefusesValuesThatDoNotGoTogether) {
  EXPECT_THAT(error("[model]\nshape = \"gpt2\"\n"),
              HasSubstr("key 'workload.requests' must be at least 1 with lengths of kind 'fixed'"));
  EXPECT_THAT(error(kSmallest, {"sampling.n=2"}),
              StartsWith("--set sampling.n: key 'sampling.n' must be 1 with method = \"greedy\""));
  EXPECT_THAT(error(kSmallest, {"device.device_blocks=2000000000"}),
              HasSubstr("at 16 tokens a block at most 134217727 can be addressed"));
  EXPECT_THAT(error(kSmallest, {"name=a/b"}), HasSubstr("must consist of letters"));
  EXPECT_THAT(error(kSmallest, {"name=.."}), HasSubstr("must consist of letters"));
}

TEST(Experiment, RefusesValuesOutOfRange) {
  for (const char* value :
       {"device.block_size=0", "device.block_size=257", "device.device_blocks=0", "device.host_blocks=-1",
        "device.threads=-1", "sampling.temperature=0", "sampling.top_p=0", "sampling.top_p=1.1",
        "sampling.n=0", "seed=-1", "workload.requests=-1", "sampling.eos=-2"}) {
    const std::string key = std::string(value).substr(0, std::string(value).find('='));
    EXPECT_THAT(error(kSmallest, {value}), StartsWith("--set " + key + ": key '" + key + "' must be"));
  }
}

TEST(Experiment, KeysDependOnTheKind) {
  EXPECT_THAT(error(kSmallest, {"clock.step_s=1"}),
              AllOf(HasSubstr("key 'clock.step_s' is unknown"), HasSubstr("valid keys here: kind")));
  EXPECT_THAT(error(kSmallest + "[policy.batching]\nname = \"mixed\"\nmax_token = 3\n"),
              AllOf(StartsWith("e.toml:5: key 'policy.batching.max_token' is unknown"),
                    HasSubstr("did you mean 'max_tokens'?")));
  EXPECT_THAT(
      error(kSmallest + "[policy.batching]\nname = \"mixd\"\n"),
      AllOf(StartsWith("e.toml:4: key 'policy.batching.name' must be one of: "), HasSubstr("'mixed'?")));
  EXPECT_THAT(error(kSmallest + "[policy.batchng]\n"), HasSubstr("did you mean 'batching'?"));
}

TEST(Experiment, EveryExampleResolvesAndItsWorkloadCanBeMade) {
  int examples = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kExamples)) {
    if (entry.path().extension() != ".toml") {
      continue;
    }
    SCOPED_TRACE(entry.path());
    ++examples;
    const Experiment e = read_experiment(entry.path(), {}, registry());
    EXPECT_EQ(e.name, entry.path().stem());
    if (e.workload.lengths.kind == "trace" && !std::filesystem::exists(test::traces()) && !test::in_ci()) {
      continue;
    }
    const auto workload = make_workload(e.workload, e.seed, 50272);
    EXPECT_EQ(workload->total(), e.workload.requests);
    const bool worked_out = e.device.sim && e.device.device_blocks == Blocks(0);
    EXPECT_TRUE(worked_out || e.device.device_blocks > blocks_for(Tokens(512), e.device.block_size) / 2)
        << "a pool for one request";
  }
  EXPECT_GE(examples, 5);
}

TEST(Experiment, WrittenOutIsReadBackTheSame) {
  const TemporaryFolder folder;
  folder.write("traces/t.csv", "arrival_s,input_tokens,output_tokens\n0,3,4\n");
  const std::string source = folder.write(
      "e.toml",
      "seed = 3\n[model]\npath = \"weights\"\n[clock]\nkind = \"virtual\"\ncontext_token_s = 1.7e-7\n"
      "[workload.lengths]\nkind = \"trace\"\nfile = \"traces/t.csv\"\nscale = 0.3\n[workload.arrivals]\n"
      "kind = \"trace\"\ntime_scale = 0.1\n[policy.batching]\nname = \"chunked\"\n");
  const Experiment e = read_experiment(source, {}, registry());
  const std::string text = experiment_toml(e, folder.path() / "runs" / "e");
  EXPECT_THAT(text, HasSubstr("file = \"../../traces/t.csv\""));
  EXPECT_THAT(text, HasSubstr("path = \"../../weights\""));
  EXPECT_THAT(text, HasSubstr("context_token_s = 1.7e-07"));
  EXPECT_THAT(text, HasSubstr("max_prompt = 0")) << "defaults are written too";

  const std::string copy = folder.write("runs/e/experiment.toml", text);
  const Experiment again = read_experiment(copy, {}, registry());
  EXPECT_EQ(experiment_toml(again, folder.path() / "runs" / "e"), text);
  EXPECT_EQ(make_workload(again.workload, again.seed, 100)->total(), 1);
}

TEST(Experiment, WrittenOutKeepsHistograms) {
  const Experiment e = read_experiment(kExamples / "quickstart.toml", {}, registry());
  const std::string text = experiment_toml(e, ".");
  EXPECT_EQ(experiment_toml(resolve(text), "."), text);
  EXPECT_THAT(text, HasSubstr("prompt_counts = [21945, 16255, "));
}

TEST(Experiment, IsNamedAfterItsFile) {
  const TemporaryFolder folder;
  EXPECT_EQ(read_experiment(folder.write("my run.toml", kSmallest), {}, registry()).name, "my-run");
}

/// The lines of the quickstart.
std::vector<std::string> quickstart_lines() {
  std::istringstream text(read_text_file(kExamples / "quickstart.toml"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) {
    lines.push_back(line);
  }
  return lines;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) {
    text += line + "\n";
  }
  return text;
}

TEST(Quickstart, EveryMisspeltKeyIsNamedWithTheRightOne) {
  const std::regex key(R"(^([a-z_]+) = .*)");
  const std::regex section(R"(^\[([a-z_.]*?)([a-z_]+)\]$)");
  int keys = 0;
  for (std::size_t i = 0; i < quickstart_lines().size(); ++i) {
    std::vector<std::string> lines = quickstart_lines();
    std::smatch match;
    std::string right;
    std::string wrong;
    if (std::regex_match(lines[i], match, key)) {
      right = match[1];
      wrong = right.substr(0, 1) + "x" + right.substr(1);
      lines[i] = wrong + lines[i].substr(right.size());
    } else if (std::regex_match(lines[i], match, section)) {
      right = match[2];
      wrong = right.substr(0, 1) + "x" + right.substr(1);
      lines[i].replace(1 + match[1].str().size(), right.size(), wrong);
    } else {
      continue;
    }
    ++keys;
    const std::string text = error(joined(lines));
    EXPECT_THAT(text, AllOf(StartsWith("e.toml:"), HasSubstr(wrong + "' is unknown; valid keys here: "),
                            HasSubstr("did you mean '" + right + "'?")));
    if (lines[i][0] != '[') {
      EXPECT_THAT(text, StartsWith("e.toml:" + std::to_string(i + 1) + ":"));
    }
  }
  EXPECT_GE(keys, 40);
}

TEST(Quickstart, DamagedBytesGiveAnErrorOrAnExperimentButNeverACrash) {
  const std::string original = joined(quickstart_lines());
  EXPECT_TRUE(rc::check("a quickstart with some bytes changed, removed or doubled", [&] {
    std::string text = original;
    const int edits = *rc::gen::inRange(1, 9);
    for (int i = 0; i < edits; ++i) {
      const auto at = *rc::gen::inRange<std::size_t>(0, text.size());
      switch (*rc::gen::inRange(0, 3)) {
        case 0:
          text[at] = static_cast<char>(*rc::gen::inRange(0, 256));
          break;
        case 1:
          text.erase(at, *rc::gen::inRange<std::size_t>(1, 20));
          break;
        default:
          text.insert(at, text.substr(at, *rc::gen::inRange<std::size_t>(1, 20)));
      }
    }
    try {
      resolve(text);
    } catch (const InputError& e) {
      RC_ASSERT(std::string(e.what()).starts_with("e.toml"));
    }
  }));
}

}  // namespace
}  // namespace pagelab
