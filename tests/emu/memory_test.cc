#include "kernels/emu/memory.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "tests/emu/runtime_fixture.h"

namespace pagelab::emu {
namespace {

class MemoryTest : public RuntimeTest {};

void* device_memory(std::size_t bytes) {
  void* pointer = nullptr;
  EXPECT_EQ(cudaMalloc(&pointer, bytes), cudaSuccess);
  return pointer;
}

RC_GTEST_FIXTURE_PROP(MemoryTest, AllocationsAreAlignedPoisonedAndEndAtAGuardPage, ()) {
  const auto bytes = *rc::gen::inRange<std::size_t>(1, 20000);
  const auto* begin = static_cast<const std::byte*>(device_memory(bytes));
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  const std::size_t with_gap = (bytes + 255) / 256 * 256;
  RC_ASSERT(address % 256 == 0);
  RC_ASSERT((address + with_gap) % static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE)) == 0);
  RC_ASSERT(std::all_of(begin, begin + with_gap, [](std::byte value) { return value == std::byte{0xff}; }));
  RC_ASSERT(find(begin) != nullptr && find(begin)->bytes == bytes);
  RC_ASSERT(find(begin + bytes - 1) != nullptr);
  RC_ASSERT(find(begin + bytes) == nullptr);
  RC_ASSERT(find(begin - 1) == nullptr);
}

using MemoryDeathTest = MemoryTest;

TEST_F(MemoryDeathTest, AccessesBehindTheEndAndToFreedMemoryFault) {
  auto* begin = static_cast<volatile char*>(device_memory(512));
  EXPECT_DEATH(begin[512] = 1, "");
  cudaFree(const_cast<char*>(begin));
  EXPECT_DEATH(begin[0] = 1, "");
}

RC_GTEST_FIXTURE_PROP(MemoryTest, TheRegistryFindsWhatIsLiveAndNothingElse, ()) {
  std::vector<Allocation> expected;
  const int steps = *rc::gen::inRange(1, 60);
  for (int step = 0; step < steps; ++step) {
    if (expected.empty() || *rc::gen::inRange(0, 3) > 0) {
      const auto bytes = *rc::gen::inRange<std::size_t>(1, 5000);
      const auto kind = *rc::gen::element(MemoryKind::device, MemoryKind::pinned);
      auto* begin = static_cast<std::byte*>(allocate(bytes, kind));
      RC_ASSERT(begin != nullptr);
      expected.push_back({begin, bytes, kind, 0});
    } else {
      const auto index = *rc::gen::inRange<std::size_t>(0, expected.size());
      const Allocation gone = expected[index];
      expected.erase(expected.begin() + static_cast<std::ptrdiff_t>(index));
      RC_ASSERT(release(gone.begin, gone.kind));
      RC_ASSERT(find(gone.begin) == nullptr);
      RC_ASSERT(!release(gone.begin, gone.kind));
    }
    for (const Allocation& live : expected) {
      const auto offset = *rc::gen::inRange<std::size_t>(0, live.bytes);
      const Allocation* found = find(live.begin + offset);
      RC_ASSERT(found != nullptr && found->begin == live.begin && found->bytes == live.bytes);
      RC_ASSERT(found->kind == live.kind);
    }
  }
  RC_ASSERT(live_allocations().size() == expected.size());
  release_all();
  RC_ASSERT(live_allocations().empty() && memory_in_use() == 0u);
}

TEST_F(MemoryTest, TheDevicesLimitIsKeptAndPinnedMemoryIsNotOfIt) {
  set_memory_limit(1 << 20);
  void* pointer = nullptr;
  EXPECT_EQ(cudaMalloc(&pointer, (1 << 20) + 1), cudaErrorMemoryAllocation);
  EXPECT_EQ(pointer, nullptr);
  void* half = device_memory(1 << 19);
  std::size_t free = 0, total = 0;
  EXPECT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  EXPECT_EQ(free, std::size_t{1} << 19);
  EXPECT_EQ(total, std::size_t{1} << 20);
  EXPECT_EQ(cudaMalloc(&pointer, (1 << 19) + 1), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaMallocHost(&pointer, 1 << 21), cudaSuccess);
  EXPECT_EQ(cudaFree(half), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&pointer, 1 << 20), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&pointer, SIZE_MAX), cudaErrorMemoryAllocation);
}

TEST_F(MemoryTest, NothingIsAllocatedForNoBytes) {
  void* pointer = &pointer;
  EXPECT_EQ(cudaMalloc(&pointer, 0), cudaSuccess);
  EXPECT_EQ(pointer, nullptr);
  EXPECT_EQ(cudaFree(nullptr), cudaSuccess);
  EXPECT_TRUE(live_allocations().empty());
}

TEST_F(MemoryTest, OnlyLiveAllocationsOfTheKindCanBeFreed) {
  auto* device = static_cast<std::byte*>(device_memory(100));
  void* pinned = nullptr;
  ASSERT_EQ(cudaMallocHost(&pinned, 100), cudaSuccess);
  int own = 0;
  EXPECT_EQ(cudaFree(&own), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(device + 1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(pinned), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFreeHost(device), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(device), cudaSuccess);
  EXPECT_EQ(cudaFree(device), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFreeHost(pinned), cudaSuccess);
}

TEST_F(MemoryTest, AddressesOfFreedMemoryAreNotUsedAgainAtOnce) {
  void* freed = device_memory(1000);
  cudaFree(freed);
  for (int i = 0; i < 20; ++i) {
    EXPECT_NE(device_memory(1000), freed);
  }
}

TEST_F(MemoryTest, FreeingWaitsForQueuedWork) {
  for_each_order([] {
    const cudaStream_t stream = new_stream();
    Numbers host(4, Memory::pinned);
    auto* device = static_cast<float*>(device_memory(host.bytes()));
    cudaMemsetAsync(device, 0, host.bytes(), stream);
    cudaMemcpyAsync(host.data(), device, host.bytes(), cudaMemcpyDeviceToHost, stream);
    EXPECT_EQ(cudaFree(device), cudaSuccess);
    EXPECT_EQ(host.values()[3], 0.0f);
  });
}

TEST_F(MemoryTest, PinnedMemoryIsMappedIntoTheDevicesAddresses) {
  void *pinned = nullptr, *mapped = nullptr;
  ASSERT_EQ(cudaHostAlloc(&pinned, 8, cudaHostAllocMapped), cudaSuccess);
  EXPECT_EQ(cudaHostGetDevicePointer(&mapped, pinned, 0), cudaSuccess);
  EXPECT_EQ(mapped, pinned);
  EXPECT_EQ(cudaHostGetDevicePointer(&mapped, &pinned, 0), cudaErrorInvalidValue);
  EXPECT_EQ(cudaHostAlloc(&pinned, 8, 0x80), cudaErrorInvalidValue);
}

TEST_F(MemoryTest, APageableSourceIsReadAtOnceAndAPinnedOneWhenTheCopyRuns) {
  set_stream_order(StreamOrder::lazy);
  const cudaStream_t stream = new_stream();
  Numbers from_pageable(1, Memory::device), from_pinned(1, Memory::device), pinned(1, Memory::pinned);
  float pageable = 1;
  pinned.values()[0] = 1;
  cudaMemcpyAsync(from_pageable.data(), &pageable, sizeof(float), cudaMemcpyHostToDevice, stream);
  cudaMemcpyAsync(from_pinned.data(), pinned.data(), sizeof(float), cudaMemcpyHostToDevice, stream);
  pageable = 2;
  pinned.values()[0] = 2;
  cudaStreamSynchronize(stream);
  EXPECT_EQ(from_pageable.values()[0], 1);
  EXPECT_EQ(from_pinned.values()[0], 2);
}

TEST_F(MemoryTest, APageableTargetIsWrittenAtOnceAndAPinnedOneWhenSynchronised) {
  set_stream_order(StreamOrder::lazy);
  const cudaStream_t stream = new_stream();
  Numbers device(1, Memory::device), pinned(1, Memory::pinned);
  cudaMemsetAsync(device.data(), 0, sizeof(float), stream);
  float pageable = 1;
  pinned.values()[0] = 1;
  cudaMemcpyAsync(pinned.data(), device.data(), sizeof(float), cudaMemcpyDeviceToHost, stream);
  EXPECT_EQ(pinned.values()[0], 1);
  cudaMemcpyAsync(&pageable, device.data(), sizeof(float), cudaMemcpyDeviceToHost, stream);
  EXPECT_EQ(pageable, 0);
  cudaStreamSynchronize(stream);
  EXPECT_EQ(pinned.values()[0], 0);
}

TEST_F(MemoryTest, SynchronousCopiesReturnWhatIsThereInEveryOrder) {
  for_each_order([] {
    Numbers device(2, Memory::device), other(2, Memory::device), pinned(2, Memory::pinned);
    pinned.values()[0] = 5;
    pinned.values()[1] = 6;
    EXPECT_EQ(cudaMemcpy(device.data(), pinned.data(), device.bytes(), cudaMemcpyHostToDevice), cudaSuccess);
    pinned.values()[0] = 7;
    EXPECT_EQ(cudaMemcpy(other.data(), device.data(), device.bytes(), cudaMemcpyDeviceToDevice), cudaSuccess);
    EXPECT_EQ(cudaMemset(other.data() + 1, 0, sizeof(float)), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(pinned.data(), other.data(), device.bytes(), cudaMemcpyDefault), cudaSuccess);
    EXPECT_EQ(pinned.values()[0], 5);
    EXPECT_EQ(pinned.values()[1], 0);
  });
}

TEST_F(MemoryTest, CopiesWhoseDirectionOrRangeDoesNotFitAreRefused) {
  Numbers device(4, Memory::device), pinned(4, Memory::pinned);
  float pageable[8] = {};
  const auto copy = [](void* target, const void* source, std::size_t bytes, cudaMemcpyKind kind) {
    return cudaMemcpy(target, source, bytes, kind);
  };
  EXPECT_EQ(copy(pageable, device.data(), 16, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(copy(device.data(), pageable, 16, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(copy(device.data(), pinned.data(), 16, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(copy(device.data(), pageable, 16, cudaMemcpyHostToHost), cudaErrorInvalidValue);
  EXPECT_EQ(copy(device.data(), pageable, 17, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(copy(device.data() + 1, pageable, 16, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(copy(pageable, pinned.data(), 17, cudaMemcpyHostToHost), cudaErrorInvalidValue);
  EXPECT_EQ(copy(nullptr, pageable, 16, cudaMemcpyHostToHost), cudaErrorInvalidValue);
  EXPECT_EQ(copy(device.data(), pageable, 16, cudaMemcpyDefault), cudaSuccess);
  EXPECT_EQ(copy(nullptr, nullptr, 0, cudaMemcpyHostToDevice), cudaSuccess);
  EXPECT_EQ(cudaMemset(device.data(), 0, 17), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(pageable, 0, 4), cudaErrorInvalidValue);
}

class Listener : public MemoryListener {
 public:
  void allocated(const Allocation& allocation) override { sizes.push_back(allocation.bytes); }
  void released(const Allocation& allocation) override { sizes.push_back(allocation.bytes + 1); }
  void written(const void* begin, std::size_t bytes) override { writes.emplace_back(begin, bytes); }
  void copied(void* target, const void* source, std::size_t bytes) override {
    writes.emplace_back(target, bytes);
    sources.push_back(source);
  }
  std::vector<std::size_t> sizes;
  std::vector<std::pair<const void*, std::size_t>> writes;
  std::vector<const void*> sources;
};

TEST_F(MemoryTest, AListenerHearsOfAllocationsAndOfWritesWhenTheyHappen) {
  Listener listener;
  set_memory_listener(&listener);
  set_stream_order(StreamOrder::lazy);
  const cudaStream_t stream = new_stream();
  {
    Numbers first(10, Memory::device), second(20, Memory::device);
    EXPECT_EQ(listener.sizes, (std::vector<std::size_t>{40, 80}));
    const float pageable[10] = {};
    cudaMemcpyAsync(first.data(), pageable, 40, cudaMemcpyHostToDevice, stream);
    cudaMemcpyAsync(second.data(), first.data(), 12, cudaMemcpyDeviceToDevice, stream);
    cudaMemsetAsync(second.data() + 3, 0, 8, stream);
    EXPECT_TRUE(listener.writes.empty());
    cudaStreamSynchronize(stream);
    EXPECT_EQ(listener.writes, (std::vector<std::pair<const void*, std::size_t>>{
                                   {first.data(), 40}, {second.data(), 12}, {second.data() + 3, 8}}));
    EXPECT_EQ(listener.sources, (std::vector<const void*>{first.data()}));
  }
  EXPECT_EQ(listener.sizes, (std::vector<std::size_t>{40, 80, 81, 41}));
  set_memory_listener(nullptr);
}

}  // namespace
}  // namespace pagelab::emu
