// The whole CUDA device, host side and kernels, against the CPU: tiny checkpoints served through the engine
// give the same tokens. On the emulated runtime every case runs with queued work executed at once, as late as
// possible, and in random orders that the streams allow, so that a missing wait gives wrong tokens rather
// than luck.
#include <gtest/gtest.h>

#include <functional>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cuda/ops/cuda_ops.h"
#include "models/model.h"
#include "models/model_device.h"
#include "models/timed_device.h"
#include "tests/cuda/stream_orders.h"
#include "tests/models/paged_batch.h"
#include "tests/support/builders.h"
#include "tests/support/source_dir.h"

namespace pagelab {
namespace {

namespace cuda = kernels::PAGELAB_CUDA_VARIANT;
using kernels::CudaOptions;
using kernels::DType;
using kernels::SwapMode;
using testing::beams;
using testing::for_each_stream_order;
using testing::parallel;
using testing::request;

std::string golden_path(const std::string& name) {
  return (test::source_dir() / "tests/golden" / name).string();
}

struct Case {
  std::int32_t block_size = 4;
  std::int32_t device_blocks = 512;
  std::int32_t host_blocks = 512;
  testing::PolicyNames policies{};
};

/// Serves the requests with the backend in virtual time, so that all backends make the same decisions.
testing::Run serve(std::unique_ptr<kernels::Ops> ops, const std::string& checkpoint,
                   std::vector<Request> requests, const Case& c) {
  auto model = load_model(golden_path(checkpoint), 0, *ops);
  auto device = std::make_unique<ModelDevice>(
      std::move(ops), std::move(model),
      KvOptions{.block_size = c.block_size, .device_blocks = c.device_blocks, .host_blocks = c.host_blocks});
  TimedDevice timed(std::move(device),
                    StepCost{.step_s = 0.01, .prefill_token_s = 0.001, .decode_token_s = 0.001});
  return testing::run(timed, std::move(requests), c.policies);
}

std::unique_ptr<kernels::Ops> cpu_ops() {
  return std::make_unique<kernels::cpu::CpuOps>(
      kernels::cpu::CpuOptions{.threads = 1, .weight_dtype = DType::f32});
}

std::unique_ptr<cuda::CudaOps> cuda_ops(CudaOptions options = {}) {
  options.weight_dtype = DType::f32;
  return std::make_unique<cuda::CudaOps>(options);
}

/// Greedy, parallel and beam requests whose ids are in the checkpoints' vocabulary.
std::vector<Request> crowd() {
  std::vector<Request> requests{request(0, 17, 14), parallel(request(1, 20, 12), 3),
                                beams(request(2, 18, 10), 3), parallel(request(3, 30, 8), 2),
                                request(4, 1, 20)};
  requests[1].sampling.temperature = 0.8f;
  requests[1].sampling.top_p = 0.9f;
  requests[3].sampling.top_k = 50;
  for (Request& r : requests) {
    for (TokenId& token : r.prompt) {
      token %= 190;
    }
  }
  return requests;
}

void expect_same(const testing::Run& expected, const testing::Run& got) {
  ASSERT_EQ(expected.record.outputs.size(), got.record.outputs.size());
  for (const auto& [id, sequences] : expected.record.outputs) {
    const auto& other = got.record.outputs.at(id);
    ASSERT_EQ(sequences.size(), other.size());
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      ASSERT_EQ(sequences[i].output, other[i].output) << "request " << id << ", sequence " << i;
      for (std::size_t t = 0; t < sequences[i].logprobs.size(); ++t) {
        ASSERT_NEAR(sequences[i].logprobs[t], other[i].logprobs[t], 1e-4)
            << "request " << id << ", token " << t;
      }
    }
  }
}

/// A pool in which the crowd has to make room for itself.
Case tight(const std::string& preemption, const std::string& batching = "mixed") {
  Case c{.device_blocks = 34, .host_blocks = 64};
  c.policies = {.batching = batching, .preemption = preemption};
  c.policies.parameters["batching.max_tokens"] = std::int64_t{batching == "chunked" ? 16 : 2560};
  return c;
}

class Checkpoints : public ::testing::TestWithParam<std::string> {};

TEST_P(Checkpoints, GreedyParallelAndBeamTokensAreThoseOfTheCpu) {
  const testing::Run expected = serve(cpu_ops(), GetParam(), crowd(), {});
  EXPECT_GT(expected.record.count(DecisionKind::copy_on_write), 0);
  for_each_stream_order([&] { expect_same(expected, serve(cuda_ops(), GetParam(), crowd(), {})); });
}

TEST_P(Checkpoints, TokensAreThoseOfTheCpuUnderPreemption) {
  for (const auto& [preemption, batching, decision] :
       {std::tuple{"recompute", "mixed", DecisionKind::preempt_recompute},
        std::tuple{"swap", "chunked", DecisionKind::preempt_swap}}) {
    SCOPED_TRACE(preemption);
    const Case c = tight(preemption, batching);
    const testing::Run expected = serve(cpu_ops(), GetParam(), crowd(), c);
    ASSERT_GT(expected.record.count(decision), 0);
    for_each_stream_order([&] { expect_same(expected, serve(cuda_ops(), GetParam(), crowd(), c)); });
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, Checkpoints,
                         ::testing::Values("opt", "opt-post-norm", "gpt2", "llama", "llama-gqa"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST(CudaDevice, SwapsTheSameBlockByBlockAsInOneTransfer) {
  const testing::Run expected = serve(cpu_ops(), "llama-gqa", crowd(), tight("swap"));
  for_each_stream_order([&] {
    expect_same(expected,
                serve(cuda_ops({.swap = SwapMode::per_block}), "llama-gqa", crowd(), tight("swap")));
  });
}

/// Serves with graphs; gives how many steps were replayed.
std::int64_t replay(std::vector<Request> requests, const Case& c, testing::Run& run) {
  auto ops = cuda_ops({.graphs = true});
  auto model = load_model(golden_path("opt"), 0, *ops);
  const cuda::CudaOps& borrowed = *ops;
  ModelDevice device(
      std::move(ops), std::move(model),
      KvOptions{.block_size = c.block_size, .device_blocks = c.device_blocks, .host_blocks = c.host_blocks});
  run = testing::run(device, std::move(requests), c.policies);
  return borrowed.graph_replays();
}

TEST(CudaDevice, ReplayedGraphsChangeNoToken) {
  for (const auto& [requests, c, replays] :
       {std::tuple{crowd(), tight("swap"), 1},
        std::tuple{std::vector{crowd()[4]}, Case{.block_size = 16}, 14}}) {
    const testing::Run expected = serve(cpu_ops(), "opt", requests, c);
    for_each_stream_order([&, &requests = requests, &c = c, &replays = replays] {
      testing::Run got;
      EXPECT_GE(replay(requests, c, got), replays);
      expect_same(expected, got);
    });
  }
}

/// The traffic of blocks of a step.
struct Moves {
  std::vector<BlockCopy> out{}, in{}, copies{};
};

/// Sequences of one block on one device, step by step.
class Steps {
 public:
  explicit Steps(const CudaOptions& options) {
    auto ops = cuda_ops(options);
    auto model = load_model(golden_path("llama"), 0, *ops);
    device_ = std::make_unique<ModelDevice>(
        std::move(ops), std::move(model),
        KvOptions{.block_size = kBlockSize, .device_blocks = 8, .host_blocks = 4});
  }

  /// Feeds the tokens and gives the next one, greedily; a new sequence gets `block`. `moves` is the traffic
  /// of blocks that comes before.
  TokenId feed(test::TestSequence& sequence, BlockId block, const std::vector<TokenId>& tokens,
               const Moves& moves = {}) {
    test::BlockSource source(block.value() + 1);
    test::BatchBuilder builder(kBlockSize, source);
    builder.sample({.row = builder.add(sequence, tokens)});
    builder.batch().swap_out = moves.out;
    builder.batch().swap_in = moves.in;
    builder.batch().copies = moves.copies;
    sequence.blocks[0] = block;
    StepResult result;
    device_->execute(builder.batch(), result);
    return result.candidates.at(0).token;
  }
  const ModelDevice& device() const { return *device_; }

 private:
  static constexpr std::int32_t kBlockSize = 16;
  std::unique_ptr<ModelDevice> device_;
};

std::vector<TokenId> prompt_of(std::int32_t index) {
  std::vector<TokenId> prompt;
  for (std::int32_t i = 0; i < 12; ++i) {
    prompt.push_back((i * 37 + index * 11 + 5) % 190);
  }
  return prompt;
}

class SwapModes : public ::testing::TestWithParam<SwapMode> {};

TEST_P(SwapModes, ABlockIsCopiedOutBeforeTheStepOverwritesItAndIsThereBeforeItIsRead) {
  for_each_stream_order([&] {
    const CudaOptions options{.swap = GetParam()};
    Steps undisturbed(options);
    test::TestSequence one, two;
    std::vector<TokenId> first = {undisturbed.feed(one, BlockId(0), prompt_of(0))};
    first.push_back(undisturbed.feed(one, BlockId(0), {first[0]}));
    first.push_back(undisturbed.feed(one, BlockId(0), {first[1]}));
    std::vector<TokenId> second = {undisturbed.feed(two, BlockId(1), prompt_of(1))};
    second.push_back(undisturbed.feed(two, BlockId(1), {second[0]}));

    Steps steps(options);
    test::TestSequence a, b;
    EXPECT_EQ(steps.feed(a, BlockId(5), prompt_of(0)), first[0]);
    // Out in the very step that writes another sequence into the block.
    EXPECT_EQ(steps.feed(b, BlockId(5), prompt_of(1), {.out = {{BlockId(5), BlockId(1)}}}), second[0]);
    // The other goes out and the first comes in through one block, and from there to where it is read.
    EXPECT_EQ(steps.feed(a, BlockId(0), {first[0]},
                         {.out = {{BlockId(5), BlockId(2)}},
                          .in = {{BlockId(1), BlockId(5)}},
                          .copies = {{BlockId(5), BlockId(0)}}}),
              first[1]);
    // The host block that was read in the last step is written in this one.
    EXPECT_EQ(steps.feed(b, BlockId(3), {second[0]},
                         {.out = {{BlockId(0), BlockId(1)}}, .in = {{BlockId(2), BlockId(3)}}}),
              second[1]);
    EXPECT_EQ(steps.feed(a, BlockId(4), {first[1]}, {.in = {{BlockId(1), BlockId(4)}}}), first[2]);
    EXPECT_GT(steps.device().seconds_in(kernels::OpKind::linear), 0);
    EXPECT_GT(steps.device().seconds_in(kernels::OpKind::copy), 0);
  });
}

INSTANTIATE_TEST_SUITE_P(Both, SwapModes, ::testing::Values(SwapMode::batched, SwapMode::per_block),
                         [](const auto& test) {
                           return test.param == SwapMode::batched ? "batched" : "per_block";
                         });

/// Halves and bf16 round the inputs of products, so tokens may differ; log-probabilities stay near.
TEST(CudaDevice, HalfPrecisionStaysNearTheCpu) {
  for (const auto& [dtype, tolerance] : {std::pair{DType::bf16, 0.1}, std::pair{DType::f16, 0.02}}) {
    const auto top = [dtype = dtype](std::unique_ptr<kernels::Ops> ops) {
      auto model = load_model(golden_path("llama-gqa"), 0, *ops);
      ModelDevice device(std::move(ops), std::move(model),
                         KvOptions{.block_size = 7, .dtype = dtype, .device_blocks = 8});
      test::BlockSource blocks(8);
      test::TestSequence sequence;
      StepResult result;
      const std::vector<TokenId> prompt = prompt_of(0);
      for (const std::size_t count : {11, 1}) {  // a prefill and a decode
        test::BatchBuilder builder(7, blocks);
        builder.sample({.row = builder.add(sequence, std::span(prompt).first(count)),
                        .kind = SampleRow::Kind::top,
                        .count = 3});
        device.execute(builder.batch(), result);
      }
      return result.candidates;
    };
    const auto expected = top(std::make_unique<kernels::cpu::CpuOps>(
        kernels::cpu::CpuOptions{.threads = 1, .weight_dtype = dtype}));
    const auto got = top(std::make_unique<cuda::CudaOps>(CudaOptions{.weight_dtype = dtype}));
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(got[i].logprob, expected[i].logprob, tolerance)
          << kernels::name_of(dtype) << ", candidate " << i;
    }
  }
}

}  // namespace
}  // namespace pagelab
