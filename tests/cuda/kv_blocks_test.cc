// The traffic of KV blocks: where new K and V go, to the bit, and that copies move whole blocks and nothing
// else, within the device and between it and pinned host memory.
#include "kernels/cuda/kv_blocks.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cpu/float_convert.h"
#include "tests/cuda/device_array.h"

namespace pagelab::testing {
namespace {

using kernels::BlockCopy;
using kernels::DType;

/// The bits of a number as stored.
std::uint32_t stored(float value, DType dtype) {
  return dtype == DType::f32    ? std::bit_cast<std::uint32_t>(value)
         : dtype == DType::bf16 ? kernels::cpu::f32_to_bf16(value)
                                : kernels::cpu::f32_to_f16(value);
}

std::uint32_t element(const std::vector<std::uint8_t>& bytes, DType dtype, std::size_t index) {
  if (dtype == DType::f32) {
    std::uint32_t value;
    std::memcpy(&value, &bytes[4 * index], 4);
    return value;
  }
  std::uint16_t value;
  std::memcpy(&value, &bytes[2 * index], 2);
  return value;
}

std::vector<std::uint8_t> random_bytes(std::size_t count, std::mt19937& random) {
  std::vector<std::uint8_t> bytes(count);
  std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<std::uint8_t>(random()); });
  return bytes;
}

/// Numbers of many magnitudes: subnormals of f16, its overflow, halves between neighbours.
float awkward_number(std::mt19937& random) {
  const auto mantissa = static_cast<float>(random() % 8192) - 4096.0f;
  return std::ldexp(mantissa, static_cast<int>(random() % 40) - 30);
}

RC_GTEST_PROP(KvBlocks, NewKeysAndValuesGoToTheirSlotsAndNowhereElse, ()) {
  std::mt19937 random(*rc::gen::arbitrary<unsigned>());
  cuda::PagedKv kv;
  kv.dtype = *rc::gen::element(DType::f32, DType::bf16, DType::f16);
  kv.head_size = *rc::gen::element(64, 72, 80, 96, 128, 256);
  kv.kv_heads = *rc::gen::inRange(1, 4);
  kv.block_size = *rc::gen::element(1, 2, 7, 16, 256);
  const std::int32_t heads = kv.kv_heads * *rc::gen::inRange(1, 3);
  const std::int32_t layers = *rc::gen::inRange(1, 3);
  const std::int32_t layer = *rc::gen::inRange(0, layers);
  const std::int32_t blocks = 16 / kv.block_size + 2;
  const std::int32_t layer_stride = kv.kv_heads * kv.block_size * kv.head_size;
  kv.block_stride = std::int64_t{2} * layers * layer_stride;
  const std::size_t element_bytes = kernels::size_of(kv.dtype);

  std::vector<std::int32_t> slots(static_cast<std::size_t>(blocks * kv.block_size));
  std::iota(slots.begin(), slots.end(), 0);
  std::shuffle(slots.begin(), slots.end(), random);
  slots.resize(std::min(slots.size(), *rc::gen::inRange<std::size_t>(0, 9)));
  const auto tokens = static_cast<std::int32_t>(slots.size());
  const std::int32_t stride = (heads + 2 * kv.kv_heads) * kv.head_size;
  std::vector<float> qkv(static_cast<std::size_t>(tokens * stride));
  std::generate(qkv.begin(), qkv.end(), [&] { return awkward_number(random); });

  const std::vector<std::uint8_t> before =
      random_bytes(static_cast<std::size_t>(blocks * kv.block_stride) * element_bytes, random);
  std::vector<std::uint32_t> expected(before.size() / element_bytes);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    expected[i] = element(before, kv.dtype, i);
  }
  for (std::int32_t t = 0; t < tokens; ++t) {
    const std::int32_t slot = slots[static_cast<std::size_t>(t)];
    for (std::int32_t i = 0; i < 2 * kv.kv_heads * kv.head_size; ++i) {
      const std::int32_t head = i / kv.head_size;  // keys' heads, then values'
      const std::int64_t at = slot / kv.block_size * kv.block_stride + layer * 2 * layer_stride +
                              (head * kv.block_size + slot % kv.block_size) * kv.head_size + i % kv.head_size;
      const float value = qkv[static_cast<std::size_t>(t * stride + heads * kv.head_size + i)];
      expected[static_cast<std::size_t>(at)] = stored(value, kv.dtype);
    }
  }

  const DeviceArray<float> device_qkv(qkv);
  const DeviceArray<std::int32_t> device_slots(slots);
  for_each_schedule([&] {
    const DeviceArray<std::uint8_t> pool(before);
    kv.keys = pool.data() + static_cast<std::size_t>(layer * 2 * layer_stride) * element_bytes;
    kv.values = pool.data() + static_cast<std::size_t>((layer * 2 + 1) * layer_stride) * element_bytes;
    cuda::write_kv(nullptr, device_qkv.data(), heads, kv, device_slots.data(), tokens);
    const std::vector<std::uint8_t> after = pool.download();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      RC_ASSERT(element(after, kv.dtype, i) == expected[i]);
    }
  });
}

/// A pool in device memory, or in pinned host memory that kernels can address.
class Pool {
 public:
  Pool(const std::vector<std::uint8_t>& bytes, bool on_host) : bytes_(bytes.size()) {
    if (on_host) {
      cuda::check(cudaHostAlloc(&host_, bytes_, cudaHostAllocMapped), "cudaHostAlloc");
      cuda::check(cudaHostGetDevicePointer(&data_, host_, 0), "cudaHostGetDevicePointer");
      std::memcpy(host_, bytes.data(), bytes_);
    } else {
      cuda::check(cudaMalloc(&data_, bytes_), "cudaMalloc");
      cuda::check(cudaMemcpy(data_, bytes.data(), bytes_, cudaMemcpyHostToDevice), "cudaMemcpy");
    }
  }
  ~Pool() { host_ != nullptr ? cudaFreeHost(host_) : cudaFree(data_); }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  void* data() const { return data_; }
  std::vector<std::uint8_t> bytes() const {
    std::vector<std::uint8_t> out(bytes_);
    cuda::check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    cuda::check(cudaMemcpy(out.data(), host_ != nullptr ? host_ : data_, bytes_, cudaMemcpyDefault),
                "cudaMemcpy");
    return out;
  }

 private:
  std::size_t bytes_;
  void* host_ = nullptr;
  void* data_ = nullptr;
};

std::vector<std::uint8_t> copied(const std::vector<std::uint8_t>& source, std::vector<std::uint8_t> target,
                                 std::int64_t block_bytes, const std::vector<BlockCopy>& copies) {
  for (const BlockCopy& copy : copies) {
    std::memcpy(target.data() + copy.target * block_bytes, source.data() + copy.source * block_bytes,
                static_cast<std::size_t>(block_bytes));
  }
  return target;
}

RC_GTEST_PROP(KvBlocks, CopiesWholeBlocksWithinATierAndBetweenTiers, ()) {
  std::mt19937 random(*rc::gen::arbitrary<unsigned>());
  const std::int64_t block_bytes = 16 * *rc::gen::element(1, 8, 255, 257, 2048, 2050);
  constexpr std::int32_t kBlocks = 12;
  const bool within = *rc::gen::arbitrary<bool>();
  const bool source_on_host = *rc::gen::arbitrary<bool>();
  const bool target_on_host = within ? source_on_host : *rc::gen::arbitrary<bool>();
  std::vector<std::int32_t> blocks(kBlocks);
  std::iota(blocks.begin(), blocks.end(), 0);
  std::shuffle(blocks.begin(), blocks.end(), random);
  // The first half of the shuffled blocks are sources, which several copies may share; the others are
  // targets.
  std::vector<BlockCopy> copies;
  const std::int32_t count = *rc::gen::inRange(0, kBlocks / 2 + 1);
  for (std::int32_t i = 0; i < count; ++i) {
    copies.push_back({blocks[random() % (kBlocks / 2)], blocks[static_cast<std::size_t>(kBlocks / 2 + i)]});
  }
  const auto first = random_bytes(static_cast<std::size_t>(kBlocks * block_bytes), random);
  const auto second = random_bytes(first.size(), random);
  const DeviceArray<BlockCopy> device_copies(copies);
  for_each_schedule([&] {
    const Pool source(first, source_on_host);
    const Pool other(second, target_on_host);
    const Pool& target = within ? source : other;
    cuda::copy_blocks(nullptr, source.data(), target.data(), block_bytes, device_copies.data(), count);
    RC_ASSERT(target.bytes() == copied(first, within ? first : second, block_bytes, copies));
    RC_ASSERT(within || source.bytes() == first);
  });
}

TEST(KvBlocks, ALargeCopyMovesEveryByteOfBlocksThatEndWithinAPiece) {
  // More than 8 MiB in all, so in pieces of 32 KiB per block of threads.
  constexpr std::int64_t kBlockBytes = (std::int64_t{3} << 20) + 48;
  std::mt19937 random(5);
  const auto first = random_bytes(3 * kBlockBytes, random);
  const auto second = random_bytes(3 * kBlockBytes, random);
  const std::vector<BlockCopy> copies = {{0, 2}, {2, 1}, {1, 0}};
  const Pool source(first, false);
  const Pool target(second, true);
  const DeviceArray<BlockCopy> device_copies(copies);
  cuda::copy_blocks(nullptr, source.data(), target.data(), kBlockBytes, device_copies.data(), 3);
  EXPECT_TRUE(target.bytes() == copied(first, second, kBlockBytes, copies));
}

}  // namespace
}  // namespace pagelab::testing
