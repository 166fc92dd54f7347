// The probe behind figures of kind "kernel": what it times, and that it runs on every backend.
#include "experiments/reproduce/kernel_probe.h"

#include <gtest/gtest.h>

#include <memory>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cuda/ops/make_cuda_ops.h"
#include "tests/experiments/known_ops.h"

namespace pagelab {
namespace {

constexpr KernelCall small{.batch = 2,
                           .context = 20,
                           .heads = 2,
                           .head_size = 64,
                           .block_size = 16,
                           .dtype = kernels::DType::f16,
                           .scattered = true,
                           .kv_bytes = 1 << 20};

// KnownOps attends to an entry of a block table in a microsecond.
TEST(KernelProbe, TimesOneCallOverPagesAndOverWholeSequences) {
  for (const bool queues : {false, true}) {
    KernelProbe paged(std::make_unique<test::KnownOps>(queues), small);
    EXPECT_DOUBLE_EQ(paged.time_call(), 4e-6);
    EXPECT_NEAR(paged.time_call(), 4e-6, 1e-12);
    KernelCall call = small;
    call.block_size = call.context;
    call.scattered = false;
    KernelProbe contiguous(std::make_unique<test::KnownOps>(queues), call);
    EXPECT_DOUBLE_EQ(contiguous.time_call(), 2e-6);
  }
}

TEST(KernelProbe, RunsOnTheCpu) {
  KernelProbe probe(std::make_unique<kernels::cpu::CpuOps>(kernels::cpu::CpuOptions{.threads = 1}), small);
  EXPECT_GT(probe.time_call(), 0);
}

TEST(KernelProbe, RunsOnTheCudaBackend) {
  KernelProbe probe(kernels::cuda_emulated::make_ops({}), small);
  EXPECT_GT(probe.time_call(), 0);
  EXPECT_GT(probe.time_call(), 0);
}

}  // namespace
}  // namespace pagelab
