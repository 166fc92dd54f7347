// Whole runs on the real CPU kernels: the tokens (and their log-probabilities, bit for bit) of a request are
// the same alone and in a crowd, at any block size, with forced preemption by swap and by recompute, chunked
// or not.
#include <gtest/gtest.h>

#include "kernels/cpu/cpu_ops.h"
#include "models/model.h"
#include "models/model_device.h"
#include "models/timed_device.h"
#include "tests/support/builders.h"

namespace pagelab {
namespace {

using testing::beams;
using testing::parallel;
using testing::request;

/// A two-layer relative of a built-in shape: small enough for seconds, with every feature of its family.
ModelShape small(const std::string& relative) {
  ModelShape shape = *find_shape(relative);
  const bool grouped = shape.kv_heads != shape.heads;
  shape.layers = 2;
  shape.hidden = shape.embedding_size = 256;
  shape.heads = 4;
  shape.kv_heads = grouped ? 2 : 4;
  shape.head_size = 64;
  shape.ffn = 384;
  shape.vocab = 1000;
  return shape;
}

struct Case {
  std::int32_t block_size = 16;
  std::int32_t device_blocks = 512;
  std::int32_t host_blocks = 0;
  int threads = 2;
  kernels::DType dtype = kernels::DType::f32;  ///< of weights and KV
  bool mapped = false;                         ///< blocks to adjacent addresses
  testing::PolicyNames policies{};
};

testing::Run serve(const std::string& model, std::vector<Request> requests, const Case& c) {
  auto ops = std::make_unique<kernels::cpu::CpuOps>(
      kernels::cpu::CpuOptions{.threads = c.threads, .weight_dtype = c.dtype, .mapped_kv = c.mapped});
  auto weights = random_model(small(model), 7, *ops);
  auto device = std::make_unique<ModelDevice>(std::move(ops), std::move(weights),
                                              KvOptions{.block_size = c.block_size,
                                                        .dtype = c.dtype,
                                                        .device_blocks = c.device_blocks,
                                                        .host_blocks = c.host_blocks,
                                                        .maps_pages = c.mapped});
  TimedDevice timed(std::move(device),
                    StepCost{.step_s = 0.01, .prefill_token_s = 0.001, .decode_token_s = 0.001});
  return testing::run(timed, std::move(requests), c.policies);
}

std::vector<Request> crowd() {
  std::vector<Request> requests{request(0, 37, 30),           parallel(request(1, 20, 24), 3),
                                beams(request(2, 18, 20), 3), parallel(request(3, 90, 16), 1),
                                beams(request(4, 45, 12), 2), request(5, 1, 40)};
  requests[1].sampling.temperature = 0.8f;
  requests[1].sampling.top_p = 0.9f;
  requests[3].sampling.top_k = 50;
  return requests;
}

void expect_same(const testing::Run& a, std::int32_t id_a, const testing::Run& b, std::int32_t id_b) {
  const auto& one = a.record.outputs.at(id_a);
  const auto& other = b.record.outputs.at(id_b);
  ASSERT_EQ(one.size(), other.size());
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].output, other[i].output) << "request " << id_b << ", sequence " << i;
    EXPECT_EQ(one[i].logprobs, other[i].logprobs) << "request " << id_b << ", sequence " << i;
  }
}

class Serving : public ::testing::TestWithParam<std::string> {};

TEST_P(Serving, TokensAreTheSameAloneAndInACrowdAtAnyBlockSizeUnderPreemption) {
  std::vector<testing::Run> alone;
  for (Request request : crowd()) {
    request.id = RequestId(0);
    alone.push_back(serve(GetParam(), {request}, {.threads = 1}));
  }
  for (const std::int32_t block_size : {1, 7, 16, 128}) {
    for (const std::string preemption : {"recompute", "swap"}) {
      for (const std::string batching : {"mixed", "chunked"}) {
        // The largest request needs about 110 slots in whole blocks; the pool holds little more.
        const std::int32_t blocks = std::max(150 / block_size + 6, 4);
        Case c{.block_size = block_size, .device_blocks = blocks, .host_blocks = 2 * blocks};
        c.policies = {.batching = batching, .preemption = preemption};
        c.policies.parameters["batching.max_tokens"] = std::int64_t{batching == "chunked" ? 32 : 2560};
        SCOPED_TRACE(preemption + ", " + batching + ", block size " + std::to_string(block_size));
        const testing::Run served = serve(GetParam(), crowd(), c);
        ASSERT_TRUE(served.record.refused.empty()) << served.record.refused.begin()->second;
        EXPECT_GT(preemption == "swap" ? served.record.count(DecisionKind::preempt_swap)
                                       : served.record.count(DecisionKind::preempt_recompute),
                  0);
        for (std::size_t i = 0; i < alone.size(); ++i) {
          expect_same(alone[i], 0, served, static_cast<std::int32_t>(i));
        }
      }
    }
  }
}

TEST_P(Serving, TokensAreTheSameAtMappedAddressesUnderPreemption) {
  const std::int64_t row_bytes = small(GetParam()).kv_heads * 64 * 4;
  for (const std::string preemption : {"recompute", "swap", "tail"}) {
    Case c{.device_blocks = 20, .host_blocks = 40, .mapped = true};
    c.policies = {.allocation = "virtual", .preemption = preemption, .sharing = "none"};
    c.policies.parameters["allocation.page_bytes"] = 16 * row_bytes;
    SCOPED_TRACE(preemption);
    const testing::Run served = serve(GetParam(), crowd(), c);
    ASSERT_TRUE(served.record.refused.empty()) << served.record.refused.begin()->second;
    EXPECT_GT(served.progress.preemptions, 0);
    for (Request request : crowd()) {
      const std::int32_t id = request.id.value();
      request.id = RequestId(0);
      expect_same(serve(GetParam(), {request}, {.threads = 1}), 0, served, id);
    }
  }
}

TEST_P(Serving, HalfPrecisionTokensDoNotDependOnTheBatchEither) {
  for (const kernels::DType dtype : {kernels::DType::bf16, kernels::DType::f16}) {
    const testing::Run together = serve(GetParam(), crowd(), {.dtype = dtype});
    for (Request request : crowd()) {
      const std::int32_t id = request.id.value();
      request.id = RequestId(0);
      expect_same(serve(GetParam(), {request}, {.block_size = 7, .dtype = dtype}), 0, together, id);
    }
  }
}

TEST_P(Serving, SharingBlocksChangesNoToken) {
  const testing::Run shared = serve(GetParam(), crowd(), {});
  for (const std::string other : {"none", "prefix_hash", "prefix_radix"}) {
    const testing::Run different = serve(GetParam(), crowd(), {.policies = {.sharing = other}});
    for (const Request& request : crowd()) {
      expect_same(shared, request.id.value(), different, request.id.value());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Serving, ::testing::Values("opt-125m", "tinyllama-1.1b", "gpt2"),
                         [](const auto& model) { return model.param.substr(0, 3); });

}  // namespace
}  // namespace pagelab
