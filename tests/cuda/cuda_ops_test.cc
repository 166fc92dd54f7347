// CudaOps by itself, below any model: weights, arrays on their way to the device, the arena, the order of
// swap traffic, and its errors.
#include "kernels/cuda/ops/cuda_ops.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "kernels/cpu/cpu_ops.h"
#include "tests/cuda/stream_orders.h"
#ifdef PAGELAB_EMULATED_RUNTIME
#include "kernels/emu/memory.h"
#endif

namespace pagelab {
namespace {

namespace cuda = kernels::PAGELAB_CUDA_VARIANT;
using kernels::CudaOptions;
using kernels::DType;
using kernels::SwapMode;
using kernels::Tensor;
using ::testing::AllOf;
using testing::for_each_stream_order;
using ::testing::HasSubstr;

std::unique_ptr<cuda::CudaOps> cuda_ops(CudaOptions options = {}) {
  options.weight_dtype = DType::f32;
  return std::make_unique<cuda::CudaOps>(options);
}

/// A matrix [rows, cols] of the backend with `value(row, col)`.
std::unique_ptr<kernels::Weight> weight(kernels::Ops& ops, std::int64_t rows, std::int64_t cols,
                                        const std::function<float(std::int64_t, std::int64_t)>& value) {
  std::vector<float> values;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t col = 0; col < cols; ++col) {
      values.push_back(value(row, col));
    }
  }
  const kernels::HostTensor tensor{.data = values.data(), .rows = rows, .cols = cols};
  return ops.matrix({&tensor, 1});
}

/// Draws the likeliest column of each row of `logits`.
void draw(kernels::Ops& ops, Tensor logits, std::span<kernels::Candidate> out) {
  std::vector<kernels::SampleSpec> specs(out.size());
  std::vector<std::int32_t> indptr(out.size() + 1);
  std::iota(indptr.begin(), indptr.end(), 0);
  const std::vector<float> uniforms(out.size());
  ops.sample(logits, specs, indptr, uniforms, out);
}

constexpr std::int32_t kRows = 40;
const kernels::KvShape kSmallKv{
    .layers = 1, .kv_heads = 1, .head_size = 64, .block_size = 4, .device_blocks = 2, .host_blocks = 2};

/// One token, alone in its sequence, in slot 0 of a block.
struct OneToken {
  explicit OneToken(std::int32_t block) : indices{block}, slots{block * kSmallKv.block_size} {}
  std::vector<std::int32_t> indptr = {0, 1}, indices, lengths = {1}, positions = {0}, slots;
  kernels::AttentionBatch batch() const { return {indptr, indptr, indices, lengths, positions, slots}; }
};

TEST(CudaOps, ABlockIsCopiedOutBetweenTwoWritesThatNothingElseSeparates) {
  for_each_stream_order([] {
    for (const SwapMode mode : {SwapMode::batched, SwapMode::per_block}) {
      const auto ops = cuda_ops({.swap = mode});
      ops->allocate_kv(kSmallKv);
      // Row i as [q | k | v] has its one in place i of v, which is what attention to that token alone gives.
      const auto table =
          weight(*ops, 64, 3 * 64, [](auto row, auto col) { return col == 128 + row ? 1.0f : 0.0f; });
      const OneToken old_place(0), new_place(1);
      std::array<kernels::Candidate, 6> drawn;
      for (std::int32_t i = 0; i < 6; ++i) {
        ops->begin_step();
        const Tensor qkv = ops->scratch(1, 3 * 64);
        const Tensor out = ops->scratch(1, 64);
        const auto write = [&](std::int32_t id) {
          ops->embedding(*table, {&id, 1}, qkv, false);
          ops->write_kv(0, qkv, 1, old_place.batch());
        };
        const kernels::BlockCopy to_host{0, 1}, from_host{1, 1};
        write(10 + i);
        ops->swap_out({&to_host, 1});
        write(30 + i);
        ops->swap_in({&from_host, 1});
        ops->attention(0, qkv, 1, 1.0f, new_place.batch(), out);
        draw(*ops, out, std::span(drawn).subspan(static_cast<std::size_t>(i), 1));
      }
      ops->synchronize();
      for (std::int32_t i = 0; i < 6; ++i) {
        EXPECT_EQ(drawn[static_cast<std::size_t>(i)].token, 10 + i);
      }
    }
  });
}

TEST(CudaOps, ArraysOnTheirWayAreNotOverwrittenByTheNextOnes) {
  for_each_stream_order([] {
    const auto ops = cuda_ops();
    ops->allocate_kv(kSmallKv);
    const auto identity =
        weight(*ops, kRows, kRows, [](auto row, auto col) { return row == col ? 1.0f : 0.0f; });
    constexpr std::int32_t kSteps = 4;
    std::vector<kernels::Candidate> drawn(kSteps * kRows);
    ops->begin_step();
    for (std::int32_t step = 0; step < kSteps; ++step) {
      std::vector<std::int32_t> ids(kRows);
      for (std::int32_t i = 0; i < kRows; ++i) {
        ids[static_cast<std::size_t>(i)] = (i * 7 + step) % kRows;
      }
      const Tensor x = ops->scratch(kRows, kRows);
      ops->embedding(*identity, ids, x, false);
      draw(*ops, x, std::span(drawn).subspan(static_cast<std::size_t>(step * kRows), kRows));
      const kernels::BlockCopy out{0, 1};
      ops->swap_out({&out, 1});  // queues what was recorded so far, and the next arrays come
    }
    ops->synchronize();
    for (std::int32_t i = 0; i < kSteps * kRows; ++i) {
      EXPECT_EQ(drawn[static_cast<std::size_t>(i)].token, (i % kRows * 7 + i / kRows) % kRows) << i;
    }
  });
}

TEST(CudaOps, AStepThatOutgrowsTheArenaComputesTheSameAsTheNextOne) {
  for_each_stream_order([] {
    const auto ops = cuda_ops({.arena_bytes = 1000});
    const auto shift =
        weight(*ops, kRows, kRows, [](auto row, auto col) { return row == (col + 1) % kRows ? 1.0f : 0.0f; });
    const auto identity =
        weight(*ops, kRows, kRows, [](auto row, auto col) { return row == col ? 1.0f : 0.0f; });
    const std::vector<std::int32_t> ids = {3, 39, 0};
    for (int step = 0; step < 3; ++step) {
      ops->begin_step();
      Tensor x = ops->scratch(3, kRows);
      ops->embedding(*identity, ids, x, false);
      for (int i = 0; i < 5; ++i) {  // the rows move on by one; megabytes lie between one x and the next
        const Tensor next = ops->scratch(3, kRows);
        ops->scratch(3, 100'000);
        ops->linear(x, *shift, nullptr, kernels::Activation::none, false, next);
        x = next;
      }
      std::vector<kernels::Candidate> drawn(3);
      draw(*ops, x, drawn);
      ops->synchronize();
      EXPECT_EQ(drawn[0].token, 8);
      EXPECT_EQ(drawn[1].token, 4);
      EXPECT_EQ(drawn[2].token, 5);
    }
  });
}

TEST(CudaOps, WeightsOfEveryTypeAndOrderAreStackedAsTheCpuDoes) {
  constexpr std::int64_t kCols = 24;
  std::vector<float> plain(5 * kCols), turned(3 * kCols);
  for (std::size_t i = 0; i < plain.size(); ++i) {
    plain[i] = std::sin(static_cast<float>(i));
  }
  for (std::size_t i = 0; i < turned.size(); ++i) {
    turned[i] = std::cos(static_cast<float>(i));
  }
  std::vector<std::uint16_t> halves;
  for (int i = 0; i < 2 * kCols; ++i) {
    halves.push_back(static_cast<std::uint16_t>(0x3c00 + 13 * i));  // f16 from 1 upwards
  }
  const std::vector<kernels::HostTensor> parts = {
      {.data = plain.data(), .rows = 5, .cols = kCols},
      {.data = turned.data(), .rows = 3, .cols = kCols, .transposed = true},
      {.data = halves.data(), .dtype = DType::f16, .rows = 2, .cols = kCols}};
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    kernels::cpu::CpuOps cpu({.threads = 1, .weight_dtype = dtype});
    cuda::CudaOps gpu(CudaOptions{.weight_dtype = dtype});
    const std::vector<std::int32_t> ids = {0, 4, 5, 6, 7, 8, 9};
    // The likeliest token of a row and its log-probability tell the rows of the table apart.
    const auto drawn = [&](kernels::Ops& ops) {
      const auto table = ops.matrix(parts);
      EXPECT_EQ(table->rows(), 10);
      EXPECT_EQ(table->cols(), kCols);
      ops.begin_step();
      const Tensor x = ops.scratch(static_cast<std::int32_t>(ids.size()), kCols);
      ops.embedding(*table, ids, x, false);
      std::vector<kernels::Candidate> out(ids.size());
      draw(ops, x, out);
      ops.synchronize();
      return out;
    };
    const auto expected = drawn(cpu);
    const auto got = drawn(gpu);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      EXPECT_EQ(got[i].token, expected[i].token);
      EXPECT_NEAR(got[i].logprob, expected[i].logprob, 1e-5);
    }
  }
}

TEST(CudaOps, LogitsThatAreNoDistributionAreAnErrorThatNamesTheRow) {
  const auto ops = cuda_ops();
  const auto table = weight(*ops, 3, kRows, [](auto row, auto col) {
    return row == 1 && col == 17 ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(col);
  });
  const std::vector<std::int32_t> ids = {0, 2, 1, 0};
  ops->begin_step();
  const Tensor x = ops->scratch(4, kRows);
  ops->embedding(*table, ids, x, false);
  std::vector<kernels::Candidate> drawn(4);
  draw(*ops, x, drawn);
  try {
    ops->synchronize();
    FAIL() << "accepted";
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(error.what(), HasSubstr("row 2 hold NaN"));
  }
}

TEST(CudaOps, HeadsThatTheKernelsDoNotHaveAreRefused) {
  const auto ops = cuda_ops();
  kernels::KvShape shape = kSmallKv;
  shape.head_size = 72;
  EXPECT_THROW(ops->allocate_kv(shape), std::invalid_argument);
}

#ifdef PAGELAB_EMULATED_RUNTIME
/// A device of this many bytes while it lives.
class SmallDevice {
 public:
  explicit SmallDevice(std::size_t bytes) { emu::set_memory_limit(bytes); }
  ~SmallDevice() { emu::set_memory_limit(before_); }

 private:
  std::size_t before_ = emu::memory_limit();
};

TEST(CudaOps, OutOfMemorySaysWhatWasAskedForWhatAndWhatThereIs) {
  const std::size_t before = emu::memory_in_use();
  const SmallDevice small(std::size_t{48} << 20);
  auto ops = cuda_ops();
  kernels::KvShape shape = kSmallKv;
  shape.device_blocks = 40'000;
  try {
    ops->allocate_kv(shape);
    FAIL() << "accepted";
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("81.92 MB for the KV pool of the device (40000 blocks of 2048 bytes)"),
                      HasSubstr("cudaMalloc"), HasSubstr("50.33 MB are free")));
  }
  ops->allocate_kv(kSmallKv);
  EXPECT_THROW(cuda_ops({.arena_bytes = 100'000'000}), std::runtime_error);
  ops.reset();
  EXPECT_EQ(emu::memory_in_use(), before);
}
#endif

}  // namespace
}  // namespace pagelab
