// HashDevice: a device whose "KV" is the tokens themselves, kept in real device and host slots. The next
// token is a hash of what a sequence finds when it reads its context through the page table, in order of
// positions, so any block that is lost, mixed up, copied too late or overwritten changes the tokens or fails
// an expectation. Attention weights are small whole numbers that depend on key and query. Owns its slots; for
// tests only.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <span>
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
                  .retention = true},
        vocab_(vocab),
        device_(static_cast<std::size_t>(device_blocks * block_size), empty),
        host_(static_cast<std::size_t>(host_blocks * block_size), empty) {}

  DeviceCapacity capacity() const override { return capacity_; }

  /// The hash of a context of one token more.
  static std::uint64_t extend_hash(std::uint64_t hash, TokenId token) {
    return derive_seed(hash, "context", static_cast<std::uint64_t>(token));
  }
  static constexpr std::uint64_t first_hash = 7;
  static double attention(TokenId key, std::int32_t position, std::int32_t query) {
    return static_cast<double>(
        1 + derive_seed(static_cast<std::uint64_t>(key), "attention",
                        static_cast<std::uint64_t>(position) * 8192 + static_cast<std::uint64_t>(query)) %
                16);
  }
  TokenId token_of(std::uint64_t mixed) const {
    return static_cast<TokenId>(mixed / 1000 % static_cast<std::uint64_t>(vocab_));
  }

  void execute(const StepBatch& batch, StepResult& result) override {
    move(batch.moves);
    copy(batch.swap_out, device_, host_);
    copy(batch.swap_in, host_, device_);
    copy(batch.copies, device_, device_);
    const std::size_t tokens = batch.tokens.size();
    std::size_t row = 0;
    for (const Chunk& chunk : batch.chunks) {
      for (std::int32_t i = 0; i < chunk.count; ++i) {
        slot(chunk, chunk.slot(i)) = {batch.tokens[row++], chunk.first + i};
      }
    }
    hashes_.clear();
    for (const Chunk& chunk : batch.chunks) {
      read_context(chunk);
    }
    result.slot_weights.clear();
    for (const WeighedChunk& weighed : batch.weighed) {
      weigh(batch.chunks[static_cast<std::size_t>(weighed.chunk)], weighed.positions, result.slot_weights);
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

  void move(const std::vector<SlotMove>& moves) {
    for (const SlotMove& m : moves) {
      Slot& source = device_[static_cast<std::size_t>(m.source)];
      ASSERT_NE(source, empty) << "a token is moved that is not there";
      device_[static_cast<std::size_t>(m.target)] = std::exchange(source, empty);
    }
  }

  Slot& slot(const Chunk& chunk, std::int32_t number) {
    const auto size = static_cast<std::size_t>(capacity_.block_size.value());
    const auto s = static_cast<std::size_t>(number);
    return device_[chunk.blocks[s / size].index() * size + s % size];
  }

  void read_context(const Chunk& chunk) {
    if (chunk.dropped > 0) {
      read_retained(chunk);
      return;
    }
    std::uint64_t hash = first_hash;
    for (std::int32_t p = 0; p < chunk.first + chunk.count; ++p) {
      const Slot found = slot(chunk, p);
      ASSERT_EQ(found.second, p) << "a sequence reads a slot that is not its own";
      hash = extend_hash(hash, found.first);
      if (p >= chunk.first) {
        hashes_.push_back(hash);
      }
    }
  }

  /// Where positions are not slots. Whose the tokens are shows in the hash alone.
  void read_retained(const Chunk& chunk) {
    for (std::int32_t i = 0; i < chunk.count; ++i) {
      context_.clear();
      for (std::int32_t s = 0; s < chunk.held() + i + 1; ++s) {
        context_.push_back(slot(chunk, s));
      }
      std::ranges::sort(context_, {}, &Slot::second);
      ASSERT_GE(context_.front().second, 0) << "a sequence reads an empty slot";
      ASSERT_EQ(context_.back().second, chunk.first + i) << "a token does not see itself last";
      ASSERT_EQ(std::ranges::adjacent_find(context_, {}, &Slot::second), context_.end());
      std::uint64_t hash = first_hash;
      for (const Slot& found : context_) {
        hash = extend_hash(hash, found.first);
      }
      hashes_.push_back(hash);
    }
  }

  void weigh(const Chunk& chunk, std::span<const std::int32_t> positions, std::vector<double>& weights) {
    ASSERT_EQ(static_cast<std::int32_t>(positions.size()), chunk.context());
    const std::size_t first = weights.size();
    weights.resize(first + positions.size(), 0.0);
    for (std::int32_t i = 0; i < chunk.count; ++i) {
      for (std::int32_t s = 0; s < chunk.held() + i + 1; ++s) {
        const Slot found = slot(chunk, s);
        ASSERT_EQ(found.second, positions[static_cast<std::size_t>(s)]);
        weights[first + static_cast<std::size_t>(s)] += attention(found.first, found.second, chunk.first + i);
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
      result.candidates[place++] = {token_of(mixed),
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
  std::vector<Slot> context_;  ///< scratch
  std::int64_t steps_ = 0;
};

}  // namespace pagelab::testing
