// What the tests of the emulated runtime share: a fresh runtime for each test, the orders of streams to
// repeat it in, and memory that frees itself.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/emu/runtime.h"

namespace pagelab::emu {

class RuntimeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    reset_runtime();
    set_stream_order(StreamOrder::eager);
  }
  void TearDown() override { reset_runtime(); }
};

struct NamedOrder {
  StreamOrder order;
  std::uint64_t seed;
};

inline std::vector<NamedOrder> all_orders() {
  std::vector<NamedOrder> orders{{StreamOrder::eager, 0}, {StreamOrder::lazy, 0}};
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    orders.push_back({StreamOrder::random, seed});
  }
  return orders;
}

/// Runs `body` from a fresh runtime in every order.
template <class Body>
void for_each_order(Body body) {
  for (const NamedOrder& named : all_orders()) {
    SCOPED_TRACE("order " + std::to_string(static_cast<int>(named.order)) + " seed " +
                 std::to_string(named.seed));
    reset_runtime();
    set_stream_order(named.order, named.seed);
    body();
  }
}

enum class Memory { device, pinned };

/// `count` numbers of device or pinned memory.
class Numbers {
 public:
  Numbers(std::size_t count, Memory memory) : count_(count), memory_(memory) {
    EXPECT_EQ(memory == Memory::device ? cudaMalloc(&data_, count * sizeof(float))
                                       : cudaMallocHost(&data_, count * sizeof(float)),
              cudaSuccess);
  }
  ~Numbers() { memory_ == Memory::device ? cudaFree(data_) : cudaFreeHost(data_); }
  Numbers(const Numbers&) = delete;
  Numbers& operator=(const Numbers&) = delete;

  float* data() const { return data_; }
  std::size_t bytes() const { return count_ * sizeof(float); }
  std::span<float> values() const { return {data_, count_}; }

 private:
  float* data_ = nullptr;
  std::size_t count_;
  Memory memory_;
};

inline cudaStream_t new_stream(unsigned flags = cudaStreamNonBlocking) {
  cudaStream_t stream = nullptr;
  EXPECT_EQ(cudaStreamCreateWithFlags(&stream, flags), cudaSuccess);
  return stream;
}

inline cudaEvent_t new_event(unsigned flags = cudaEventDefault) {
  cudaEvent_t event = nullptr;
  EXPECT_EQ(cudaEventCreateWithFlags(&event, flags), cudaSuccess);
  return event;
}

/// Host functions in the order in which they ran.
class Log {
 public:
  /// Queues one that writes `number`.
  cudaError_t append(cudaStream_t stream, int number) {
    entries_.push_back({this, number});
    return cudaLaunchHostFunc(stream, &Log::write, &entries_.back());
  }
  explicit Log(std::size_t capacity = 1000) { entries_.reserve(capacity); }
  const std::vector<int>& ran() const { return ran_; }

 private:
  struct Entry {
    Log* log;
    int number;
  };
  static void write(void* entry) {
    const auto* written = static_cast<const Entry*>(entry);
    written->log->ran_.push_back(written->number);
  }

  std::vector<Entry> entries_;  ///< never reallocated
  std::vector<int> ran_;
};

}  // namespace pagelab::emu
