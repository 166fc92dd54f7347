// A simulation takes the decisions of the run that it stands for: the same workload and policies on the real
// CPU kernels and on a simulated device, both given the step times of one linear cost, decide and record the
// same.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <memory>
#include <tuple>
#include <vector>

#include "kernels/cpu/cpu_ops.h"
#include "models/model.h"
#include "models/model_device.h"
#include "models/sim_device.h"
#include "models/timed_device.h"
#include "tests/models/plain_device.h"
#include "tests/support/builders.h"

namespace pagelab {
namespace {

constexpr kernels::DType kType = kernels::DType::f32;

/// One layer of one head: as small as the kernels take.
ModelShape one_layer() {
  ModelShape shape = test::tiny_shape();
  shape.layers = 1;
  shape.hidden = shape.embedding_size = shape.head_size = shape.ffn = 64;
  shape.heads = shape.kv_heads = 1;
  shape.vocab = 1000;  // the prompts of testing::request()
  return shape;
}

std::unique_ptr<Device> real_device(const SimPools& pools, std::int32_t block_size) {
  auto ops =
      std::make_unique<kernels::cpu::CpuOps>(kernels::cpu::CpuOptions{.threads = 1, .weight_dtype = kType});
  auto model = random_model(one_layer(), 7, *ops);
  return std::make_unique<ModelDevice>(
      std::move(ops), std::move(model),
      KvOptions{.block_size = block_size,
                .dtype = kType,
                .device_blocks = static_cast<std::int32_t>(pools.device_blocks.value()),
                .host_blocks = static_cast<std::int32_t>(pools.host_blocks.value())});
}

std::unique_ptr<Device> simulated_device(const SimPools& pools, std::int32_t block_size) {
  return std::make_unique<SimDevice>(
      test::free_device(), one_layer(),
      CostOptions{.block_size = Tokens(block_size), .dtype = kType, .kv_dtype = kType}, pools);
}

testing::Run run_on(std::unique_ptr<Device> device, const StepCost& cost,
                    const std::vector<Request>& requests, const testing::PolicyNames& policies) {
  TimedDevice timed(std::move(device), cost);
  return testing::run(timed, requests, policies);
}

auto fields(const testing::KeepingRecorder::Event& e) {
  return std::tie(e.step, e.kind, e.request, e.tokens, e.reason);
}

auto fields(const SlotLedger& s) {
  return std::tie(s.total, s.token, s.cached, s.reserved, s.internal, s.external, s.free);
}

auto fields(const StepRecord& r) {
  return std::tuple_cat(fields(r.slots),
                        std::tie(r.step, r.time, r.duration, r.blocks_logical, r.blocks_physical,
                                 r.host_blocks_used, r.running, r.waiting, r.swapped, r.tokens_prefill,
                                 r.tokens_decode, r.tokens_recomputed, r.preempt_recompute, r.preempt_swap,
                                 r.blocks_copied, r.bytes_swapped_in, r.bytes_swapped_out));
}

template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const T& x, const T& y) { return fields(x) == fields(y); });
}

/// Greedy requests and parallel samples; their lengths are forced, so what is drawn decides nothing.
std::vector<Request> any_requests() {
  std::vector<Request> requests;
  double arrival = 0;
  for (int id = 0, count = *rc::gen::inRange(1, 12); id < count; ++id) {
    arrival += 0.001 * *rc::gen::inRange(0, 100);
    Request request = testing::request(id, *rc::gen::inRange(1, 60), *rc::gen::inRange(1, 50), arrival);
    const int n = *rc::gen::inRange(1, 4);
    requests.push_back(n == 1 ? request : testing::parallel(request, n));
  }
  return requests;
}

RC_GTEST_PROP(SimDeviceProperty, DecidesAsARealDeviceThatTakesTheSameTime, ()) {
  const std::vector<Request> requests = any_requests();
  const std::int32_t block_size = *rc::gen::element(1, 4, 16);
  const std::int32_t blocks = *rc::gen::inRange(120, 280) / block_size + 4;
  const SimPools pools{Blocks(blocks), Blocks(*rc::gen::element(0, blocks))};
  const StepCost cost{.step_s = 0.01,
                      .prefill_token_s = 0.001,
                      .decode_token_s = 0.001 * *rc::gen::inRange(0, 5),
                      .context_token_s = 1e-5,
                      .swap_byte_s = 1e-8,
                      .copy_block_s = 1e-4};
  const testing::PolicyNames policies{
      .batching = *rc::gen::element<std::string>("mixed", "prefill_first", "chunked"),
      .preemption = *rc::gen::element<std::string>("latest", "recompute", "swap"),
      .sharing = *rc::gen::element<std::string>("group", "none")};
  const testing::Run real = run_on(real_device(pools, block_size), cost, requests, policies);
  const testing::Run simulated = run_on(simulated_device(pools, block_size), cost, requests, policies);
  RC_ASSERT(same(real.record.events, simulated.record.events));
  RC_ASSERT(same(real.record.steps, simulated.record.steps));
  RC_ASSERT(real.record.finished == simulated.record.finished);
  RC_ASSERT(real.record.refused == simulated.record.refused);
  RC_CLASSIFY(real.record.count(DecisionKind::preempt_recompute) > 0, "recomputed");
  RC_CLASSIFY(real.record.count(DecisionKind::preempt_swap) > 0, "swapped");
  RC_CLASSIFY(real.record.count(DecisionKind::copy_on_write) > 0, "copied");
}

}  // namespace
}  // namespace pagelab
