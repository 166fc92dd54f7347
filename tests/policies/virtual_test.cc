// The allocation policy `virtual`: a page's arithmetic, its waste, and that nothing is shared.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/builders.h"
#include "tests/support/hash_device.h"

namespace pagelab {
namespace {

using testing::HashDevice;
using ::testing::HasSubstr;
using testing::parallel;
using testing::PolicyNames;
using testing::request;

/// A token's K takes 4 bytes on the HashDevice: a page holds page_bytes / 4 tokens.
PolicyNames virtual_pages(std::int64_t page_bytes) {
  return {.allocation = "virtual",
          .sharing = "none",
          .parameters = {{"allocation.page_bytes", page_bytes}, {"allocation.watermark", 0.0}}};
}

std::string error_of(std::int64_t block_size, const PolicyNames& names) {
  HashDevice device(8, 8, block_size);
  try {
    testing::run(device, {request(0, 4, 4)}, names);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Virtual, ABlockIsAPageOfEveryTensor) {
  EXPECT_EQ(error_of(16, virtual_pages(64)), "no error");
  EXPECT_THAT(error_of(16, virtual_pages(128)),
              HasSubstr("a page of 128 bytes holds 32 tokens, each of 4 bytes of K in one layer; set "
                        "device.block_size = 32, or policy.allocation.page_bytes = 64"));
  EXPECT_THAT(error_of(16, virtual_pages(66)), HasSubstr("no whole number of tokens"));
  EXPECT_THAT(error_of(16, virtual_pages(66)), HasSubstr("64 or 68 bytes are"));
}

TEST(Virtual, SharesNothing) {
  PolicyNames names = virtual_pages(64);
  names.sharing = "group";
  EXPECT_THAT(error_of(16, names), HasSubstr("set policy.sharing.name = \"none\""));
}

TEST(Virtual, WastesTheRestOfASequencesLastPage) {
  HashDevice device(8, 0, 16);
  // 20 prompt and 4 output tokens fill 23 slots, since the last token's KV is never needed: of 2 pages 9 are
  // lost.
  const auto run = testing::run(device, {request(0, 20, 4)}, virtual_pages(64));
  const SlotLedger& slots = run.record.steps[0].slots;
  EXPECT_EQ(slots.token, Tokens(20));
  EXPECT_EQ(slots.reserved, Tokens(3));
  EXPECT_EQ(slots.internal, Tokens(9));
  EXPECT_EQ(slots.external, Tokens(0));
  EXPECT_EQ(slots.free, Tokens(6 * 16));
}

TEST(Virtual, TakesPagesOnDemandWherePagedKeepsOneBlockFree) {
  // Two sequences in 2 blocks of 16 that never need a third: `paged` wants a free block before it appends.
  const std::vector<Request> requests = {request(0, 8, 4), request(1, 8, 4)};
  HashDevice device(2, 0, 16);
  EXPECT_EQ(testing::run(device, requests, virtual_pages(64)).progress.preemptions, 0);
  HashDevice again(2, 0, 16);
  EXPECT_GT(
      testing::run(again, requests, {.parameters = {{"allocation.watermark", 0.0}}}).progress.preemptions, 0);
}

/// Counts the blocks that a run maps.
class MapCounter final : public Device {
 public:
  DeviceCapacity capacity() const override { return inside_.capacity(); }
  void execute(const StepBatch& batch, StepResult& result) override {
    mapped.push_back(batch.mapped.value());
    inside_.execute(batch, result);
  }
  std::vector<std::int64_t> mapped;

 private:
  HashDevice inside_{16, 16, 4};
};

TEST(Virtual, TellsTheDeviceHowManyBlocksAreMappedInEachStep) {
  MapCounter device;
  testing::run(device, {parallel(request(0, 6, 4), 2)}, virtual_pages(16));
  // A prompt of 6 takes 2 blocks; the second sample's copies of both come with its first write; both cross
  // into a third block at their third token.
  EXPECT_EQ(device.mapped, (std::vector<std::int64_t>{2, 2, 0, 2}));
  MapCounter paged;
  testing::run(paged, {request(0, 6, 4)});
  EXPECT_EQ(paged.mapped, (std::vector<std::int64_t>(4, 0)));
}

}  // namespace
}  // namespace pagelab
