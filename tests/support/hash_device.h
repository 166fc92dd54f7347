// HashDevice: a device whose "KV" is the tokens themselves, kept in real device and host slots. The next
// token is a hash of what a sequence finds when it reads its context through the page table, so any block
// that is lost, mixed up, copied too late or overwritten changes the tokens or fails an expectation. Owns its
// slots; for tests only.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "core/device.h"
#include "core/random.h"

namespace pagelab::testing {

class HashDevice final : public Device {
 public:
  HashDevice(std::int64_t device_blocks, std::int64_t host_blocks, std::int64_t block_size,
             std::int32_t vocab = 1000)
      : capacity_{.device_blocks = Blocks(device_blocks),
                  .host_blocks = Blocks(host_blocks),
                  .block_size = Tokens(block_size),
                  .block_bytes = Bytes(block_size * 8),
                  .max_positions = Tokens(4096),
                  .vocabulary = vocab,
                  .row_bytes = Bytes(4)},
        vocab_(vocab),
        device_(static_cast<std::size_t>(device_blocks * block_size), empty),
        host_(static_cast<std::size_t>(host_blocks * block_size), empty) {}

  DeviceCapacity capacity() const override { return capacity_; }

  void execute(const StepBatch& batch, StepResult& result) override {
    copy(batch.swap_out, device_, host_);
    copy(batch.swap_in, host_, device_);
    copy(batch.copies, device_, device_);
    const std::size_t tokens = batch.tokens.size();
    std::size_t row = 0;
    for (const Chunk& chunk : batch.chunks) {
      for (std::int32_t p = chunk.first; p < chunk.first + chunk.count; ++p) {
        slot(chunk, p) = {batch.tokens[row++], p};
      }
    }
    hashes_.clear();
    for (const Chunk& chunk : batch.chunks) {
      read_context(chunk);
    }
    std::size_t place = 0;
    for (const SampleRow& sample : batch.samples) {
      draw(sample, result, place);
    }
    result.duration = Seconds(0.01 + 0.001 * static_cast<double>(tokens));
    steps_ += 1;
  }

  std::int64_t steps() const { return steps_; }

 private:
  using Slot = std::pair<TokenId, std::int32_t>;  // token, position
  static constexpr Slot empty{-1, -1};

  void copy(const std::vector<BlockCopy>& copies, const std::vector<Slot>& from, std::vector<Slot>& to) {
    const auto size = static_cast<std::size_t>(capacity_.block_size.value());
    for (const BlockCopy& c : copies) {
      for (std::size_t i = 0; i < size; ++i) {
        to[c.target.index() * size + i] = from[c.source.index() * size + i];
      }
    }
  }

  Slot& slot(const Chunk& chunk, std::int32_t position) {
    const auto size = static_cast<std::size_t>(capacity_.block_size.value());
    const auto p = static_cast<std::size_t>(position);
    return device_[chunk.blocks[p / size].index() * size + p % size];
  }

  void read_context(const Chunk& chunk) {
    std::uint64_t hash = 7;
    for (std::int32_t p = 0; p < chunk.first + chunk.count; ++p) {
      const Slot found = slot(chunk, p);
      ASSERT_EQ(found.second, p) << "a sequence reads a slot that is not its own";
      hash = derive_seed(hash, "context", static_cast<std::uint64_t>(found.first));
      if (p >= chunk.first) {
        hashes_.push_back(hash);
      }
    }
  }

  void draw(const SampleRow& sample, StepResult& result, std::size_t& place) const {
    const std::uint64_t hash = hashes_[static_cast<std::size_t>(sample.row)];
    for (std::int32_t i = 0; i < sample.count; ++i) {
      const auto number = static_cast<std::uint32_t>(i);
      std::uint64_t mixed = hash;
      if (sample.kind == SampleRow::Kind::random) {
        mixed = derive_seed(hash ^ sample.seed, "draw", sample.stream + number + 1000u * sample.position);
      } else if (sample.kind == SampleRow::Kind::top) {
        mixed = derive_seed(hash, "top", number);
      }
      const float spread = static_cast<float>(mixed % 997) / 997.0f;
      result.candidates[place++] = {static_cast<TokenId>(mixed / 1000 % static_cast<std::uint64_t>(vocab_)),
                                    sample.kind == SampleRow::Kind::top
                                        ? -0.1f - static_cast<float>(i) * 0.5f - spread * 0.4f
                                        : -1.0f - spread};
    }
  }

  DeviceCapacity capacity_;
  std::int32_t vocab_;
  std::vector<Slot> device_;
  std::vector<Slot> host_;
  std::vector<std::uint64_t> hashes_;
  std::int64_t steps_ = 0;
};

}  // namespace pagelab::testing
