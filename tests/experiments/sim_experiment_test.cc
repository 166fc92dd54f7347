// Experiments on a device of kind sim, from TOML to the run folder.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/config.h"
#include "experiments/device_factory.h"
#include "experiments/experiment.h"
#include "experiments/interrupt.h"
#include "experiments/run_experiment.h"
#include "models/cost_model.h"
#include "policies/builtin.h"
#include "tests/experiments/files.h"
#include "tests/models/plain_device.h"
#include "tests/support/source_dir.h"

namespace pagelab {
namespace {

using test::error_of;
using test::TemporaryFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;

const PolicyRegistry& registry() {
  static const PolicyRegistry filled = [] {
    PolicyRegistry made;
    register_builtin_policies(made);
    return made;
  }();
  return filled;
}

/// A folder with a description, gpu.toml, and an experiment beside it.
class SimExperiment : public ::testing::Test {
 protected:
  SimExperiment() {
    DeviceDescription device = test::free_device();
    device.memory_gib = 39.41;
    device.step = {.fixed_s = 0.01, .token_s = 0.001};
    folder_.write("gpu.toml", device_description_toml(device));
  }

  Experiment experiment(const std::vector<std::string>& overrides = {}) const {
    folder_.write("e.toml", R"(
[model]
shape = "opt-13b"
[device]
kind = "sim"
description = "gpu.toml"
[workload]
requests = 20
[workload.lengths]
kind = "lognormal"
[workload.arrivals]
kind = "poisson"
rate_per_s = 5
)");
    return read_experiment(folder_.path() / "e.toml", overrides, registry());
  }
  BuiltDevice device(const std::vector<std::string>& overrides = {}) const {
    const Experiment e = experiment(overrides);
    return make_device(e.model, e.device, e.seed);
  }
  nlohmann::ordered_json run(const std::string& name, const std::vector<std::string>& overrides = {}) const {
    const Experiment e = experiment(overrides);
    RunParts parts = make_run_parts(e);
    const Interrupt interrupt;
    RunObserver observer;
    return run_experiment(e, parts, registry(), folder_.path() / name, interrupt, observer).summary;
  }

  TemporaryFolder folder_;
};

TEST_F(SimExperiment, PlansItsPoolsFromTheMemory) {
  const BuiltDevice built = device();
  ASSERT_NE(built.sim_device, nullptr);
  EXPECT_EQ(built.device->capacity().device_blocks, Blocks(984));
  EXPECT_EQ(built.device->capacity().host_blocks, Blocks(1638));  // 20 GiB of 12.5 MiB each
  EXPECT_EQ(built.vocabulary, 50272);
  EXPECT_EQ(built.provenance["description"], "free");
  EXPECT_EQ(built.provenance["dtype"], "f16");
  EXPECT_EQ(built.provenance["memory_plan_per_gpu"]["device_blocks"], 984);
}

TEST_F(SimExperiment, TakesThePoolsThatItIsGiven) {
  const BuiltDevice built =
      device({"model.shape=opt-66b", "device.device_blocks=100", "device.host_blocks=7"});
  EXPECT_EQ(built.device->capacity().device_blocks, Blocks(100));
  EXPECT_EQ(built.device->capacity().host_blocks, Blocks(7));
  EXPECT_FALSE(built.provenance.contains("memory_plan_per_gpu"));
  EXPECT_EQ(device({"device.swap_space_gib=0"}).device->capacity().host_blocks, Blocks(0));
}

TEST_F(SimExperiment, NeedsOnlyTheConfigOfACheckpoint) {
  const auto golden = test::source_dir() / "tests/golden/llama";
  std::filesystem::create_directory(folder_.path() / "model");
  std::filesystem::copy(golden / "config.json", folder_.path() / "model");
  const std::string path = "model.path=" + (folder_.path() / "model").string();
  const BuiltDevice built = device({"model.shape=", path});
  EXPECT_EQ(built.provenance["model"], "model");
  EXPECT_EQ(built.provenance["dtype"], "f16");
  std::filesystem::copy(
      golden, folder_.path() / "model",
      std::filesystem::copy_options::recursive | std::filesystem::copy_options::skip_existing);
  EXPECT_EQ(device({"model.shape=", path}).provenance["dtype"], "f32");
}

TEST_F(SimExperiment, SaysWhatIsWrong) {
  EXPECT_THAT(error_of([&] { device({"device.description=none.toml"}); }),
              HasSubstr("none.toml: no such file"));
  EXPECT_THAT(error_of([&] { device({"device.gpus=3"}); }),
              HasSubstr("3 devices cannot divide the 40 heads"));
  EXPECT_THAT(error_of([&] { device({"device.gpus=8"}); }), HasSubstr("known: 2, 4"));
  EXPECT_THAT(error_of([&] { device({"model.shape=opt-66b"}); }), HasSubstr("does not fit into 1 device(s)"));
  EXPECT_THAT(error_of([&] {
                experiment({"sampling.eos=2", "sampling.forced_output=false"});
              }),
              AllOf(HasSubstr("key 'sampling.forced_output' must be true"), HasSubstr("draws no tokens")));
  EXPECT_EQ(error_of([&] { experiment({"sampling.forced_output=false"}); }), "no error");
}

TEST_F(SimExperiment, RunsInTheTimeOfItsCostModel) {
  const auto summary = run("a");
  EXPECT_EQ(summary["requests"]["finished"], 20);
  EXPECT_EQ(summary["provenance"]["clock"], "modelled");
  const double computed =
      summary["tokens"]["prefill"].get<double>() + summary["tokens"]["decode"].get<double>();
  const double busy = 0.01 * summary["steps"].get<double>() + 0.001 * computed;
  EXPECT_NEAR(summary["busy_s"].get<double>(), busy, 1e-6 * busy);
  EXPECT_NEAR(summary["operator_seconds"]["step"].get<double>(), busy, 1e-6 * busy);
}

TEST_F(SimExperiment, TakesALinearCostInsteadIfTold) {
  const auto summary = run("a", {"clock.kind=virtual", "clock.step_s=0.5", "clock.prefill_token_s=0",
                                 "clock.decode_token_s=0", "clock.context_token_s=0"});
  EXPECT_EQ(summary["provenance"]["clock"], "virtual");
  EXPECT_FALSE(summary.contains("operator_seconds"));
  EXPECT_NEAR(summary["busy_s"].get<double>(), 0.5 * summary["steps"].get<double>(), 1e-9);
}

TEST_F(SimExperiment, RunsTheSameTwiceBeamsIncluded) {
  const std::vector<std::string> beams = {"sampling.method=beam", "sampling.n=4", "output.decisions=true"};
  run("a", beams);
  run("b", beams);
  for (const char* file : {"summary.json", "steps.csv", "requests.csv", "decisions.jsonl"}) {
    EXPECT_EQ(read_text_file(folder_.path() / "a" / file), read_text_file(folder_.path() / "b" / file))
        << file;
  }
}

}  // namespace
}  // namespace pagelab
