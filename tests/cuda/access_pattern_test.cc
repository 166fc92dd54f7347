// How attention kernels use memory, counted by the checks: reads of K and V touch no sector that they do not
// need, and no access to shared memory waits for a bank.
#include <gtest/gtest.h>

#include "kernels/cuda/decode_attention.h"
#include "kernels/cuda/prefill_attention.h"
#include "kernels/emu/check.h"
#include "tests/cuda/paged_case.h"

namespace pagelab::testing {
namespace {

/// Both kernels of attention over the sequences of a case.
void attend(const PagedCase& test) {
  cuda::AttentionPlan plan;
  plan.build(test.host_batch(), test.shape().block_size, test.shape().kv_heads, 1);
  const DeviceArray<cuda::DecodeItem> decodes(plan.decodes());
  const DeviceArray<cuda::MergeItem> merges(plan.merges());
  const DeviceArray<cuda::PrefillItem> prefills(plan.prefills());
  const DeviceArray<float> workspace(static_cast<std::size_t>(
      cuda::decode_workspace(plan.partials(), test.heads(), test.shape().head_size)));
  cuda::decode_attention(nullptr, test.queries(), test.kv(), test.batch(),
                         {decodes.data(), merges.data(), static_cast<std::int32_t>(decodes.size()),
                          static_cast<std::int32_t>(merges.size()), workspace.data()});
  if (prefills.size() > 0) {
    cuda::prefill_attention(nullptr, test.queries(), test.kv(), test.batch(), prefills.data(),
                            static_cast<std::int32_t>(prefills.size()));
  }
  cuda::check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

class AccessPattern : public ::testing::TestWithParam<PagedShape> {};

TEST_P(AccessPattern, ReadsOfKvAreCoalescedAndSharedMemoryIsFreeOfConflicts) {
  emu::Checker checker;
  const PagedCase test(GetParam(), {{600, 1}, {333, 1}, {64, 128}, {0, 100}}, 1);
  checker.reset_counters();
  attend(test);
  std::uint64_t all_sectors = 0;
  for (const emu::LineCount& line : checker.counters()) {
    all_sectors += line.kind == emu::Access::read ? line.sectors : 0;
  }
  ASSERT_GT(all_sectors, 0u);
  bool loads_kv = false;
  for (const emu::LineCount& line : checker.counters()) {
    EXPECT_EQ(line.wavefronts, line.ideal_wavefronts) << line.file << ":" << line.line;
    // K and V are the bulk of what is read: they are what the lines with a tenth of all sectors load.
    if (line.kind == emu::Access::read && 10 * line.sectors > all_sectors) {
      loads_kv = true;
      EXPECT_EQ(line.sectors, line.ideal_sectors) << line.file << ":" << line.line;
    }
  }
  EXPECT_TRUE(loads_kv);
}

std::vector<PagedShape> shapes() {
  std::vector<PagedShape> all;
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (const std::int32_t head_size : {64, 80, 96, 128, 256}) {
      all.push_back({.group = 1, .head_size = head_size, .block_size = 16, .dtype = dtype});
      all.push_back({.group = 4, .head_size = head_size, .block_size = 16, .dtype = dtype});
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Shapes, AccessPattern, ::testing::ValuesIn(shapes()));

}  // namespace
}  // namespace pagelab::testing
