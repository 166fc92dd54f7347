#include "models/timed_device.h"

#include <gtest/gtest.h>

#include "tests/models/paged_batch.h"

namespace pagelab {
namespace {

/// Takes an unpredictable time and gives token 3.
class FakeDevice final : public Device {
 public:
  DeviceCapacity capacity() const override {
    return {Blocks(64), Blocks(64), Tokens(4), Bytes(1000), Tokens(100)};
  }
  void execute(const StepBatch& batch, StepResult& result) override {
    result.candidates.assign(static_cast<std::size_t>(batch.candidates), {3, -1.0f});
    result.duration = Seconds(123);
  }
};

double duration_of(const StepCost& cost) {
  test::BlockSource blocks(64);
  test::TestSequence prefilling;                                          // 6 tokens, sampled: prefill
  test::TestSequence partial;                                             // 1 token, not sampled: prefill
  test::TestSequence decoding = {.blocks = {BlockId(1)}, .computed = 4};  // 1 token, sampled: decode
  test::BatchBuilder builder(4, blocks);
  builder.sample({.row = builder.add(prefilling, std::vector<TokenId>(6, 1))});
  builder.add(partial, std::vector<TokenId>(1, 1));
  builder.sample({.row = builder.add(decoding, std::vector<TokenId>(1, 1))});
  builder.batch().swap_out = {{BlockId(0), BlockId(1)}, {BlockId(2), BlockId(3)}};
  builder.batch().swap_in = {{BlockId(4), BlockId(5)}};
  builder.batch().copies = {{BlockId(4), BlockId(5)}, {BlockId(4), BlockId(6)}};
  TimedDevice device(std::make_unique<FakeDevice>(), cost);
  StepResult result;
  device.execute(builder.batch(), result);
  EXPECT_EQ(result.candidates.size(), 2u);
  EXPECT_EQ(result.candidates[0].token, 3);
  return result.duration.value();
}

TEST(TimedDevice, ChargesEachKindOfWork) {
  EXPECT_DOUBLE_EQ(duration_of({}), 0);
  EXPECT_DOUBLE_EQ(duration_of({.step_s = 2}), 2);
  EXPECT_DOUBLE_EQ(duration_of({.prefill_token_s = 1}), 7);
  EXPECT_DOUBLE_EQ(duration_of({.decode_token_s = 1}), 1);
  EXPECT_DOUBLE_EQ(duration_of({.context_token_s = 1}), 6 + 1 + 5);
  EXPECT_DOUBLE_EQ(duration_of({.swap_byte_s = 1}), 3000);
  EXPECT_DOUBLE_EQ(duration_of({.copy_block_s = 1}), 2);
}

TEST(TimedDevice, TellsWhatPreemptingCosts) {
  const TimedDevice device(std::make_unique<FakeDevice>(),
                           {.step_s = 9, .prefill_token_s = 2, .context_token_s = 1, .swap_byte_s = 3});
  const PreemptionCosts* costs = device.preemption_costs();
  EXPECT_DOUBLE_EQ(costs->recompute(Tokens(5)).value().value(), 5 * 3);
  EXPECT_DOUBLE_EQ(costs->swap_out(Blocks(2)).value().value(), 2 * 1000 * 3);
  EXPECT_DOUBLE_EQ(costs->swap_in(Blocks(2)).value().value(), 2 * 1000 * 3);
}

TEST(TimedDevice, HasTheCapacityOfTheDeviceInside) {
  EXPECT_EQ(TimedDevice(std::make_unique<FakeDevice>(), {}).capacity().block_bytes, Bytes(1000));
}

}  // namespace
}  // namespace pagelab
