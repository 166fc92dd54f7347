// CheckDevice: a device whose "KV" is the tokens themselves, kept in device and host slots, in virtual time.
// The next token is a hash of what a sequence finds when it reads its context through the page table, in
// order of positions, so any block that is lost, mixed up, copied too late or overwritten changes the tokens
// or throws. Attention weights are small whole numbers that depend on key and query. Owns its slots. It runs
// no model; `pagelab check-policy` and tests use it to judge what manages the blocks.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/device.h"

namespace pagelab {

/// A sequence reads a slot that does not hold its own token, or a step names a block that there is not.
class ContentError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

class CheckDevice final : public Device {
 public:
  /// Sequences have at most 4,096 positions. Requires device_blocks >= 1, block_size >= 1, vocabulary >= 1.
  CheckDevice(std::int64_t device_blocks, std::int64_t host_blocks, std::int64_t block_size,
              std::int32_t vocabulary = 1000);

  DeviceCapacity capacity() const override { return capacity_; }
  /// A step takes 10 ms and 1 ms for each token. Throws ContentError.
  void execute(const StepBatch& batch, StepResult& result) override;

  // What it computes, for those who compute it again. The hash of a context begins with first_hash and is
  // extended by each token in order; a greedy next token is token_of() it.
  static constexpr std::uint64_t first_hash = 7;
  static std::uint64_t extend_hash(std::uint64_t hash, TokenId token);
  TokenId token_of(std::uint64_t hash) const;
  /// The weight that the token at position `query` gives to `key` at `position`: 1 to 16.
  static double attention(TokenId key, std::int32_t position, std::int32_t query);

  std::int64_t steps() const { return steps_; }
  /// Of all steps so far: their tokens, positions and page tables, their swaps and copies. Runs that differ
  /// in any of them differ in it, but for chance.
  std::uint64_t digest() const { return digest_; }

 private:
  struct Slot {
    TokenId token = -1;
    std::int32_t position = -1;
    bool operator==(const Slot&) const = default;
  };

  void note(std::uint64_t value);
  void copy(const std::vector<BlockCopy>& copies, const std::vector<Slot>& from, std::vector<Slot>& to);
  void move(const std::vector<SlotMove>& moves);
  /// The slot of this number in a sequence's blocks, counted through its table.
  Slot& slot(const Chunk& chunk, std::int32_t number);
  void write(const StepBatch& batch);
  void read_context(const StepBatch& batch, const Chunk& chunk);
  /// The same where tokens were dropped, so that positions are not slots.
  void read_retained(const Chunk& chunk);
  void weigh(const Chunk& chunk, std::span<const std::int32_t> positions, std::vector<double>& weights);
  void draw(const SampleRow& sample, StepResult& result, std::size_t& place) const;

  DeviceCapacity capacity_;
  std::vector<Slot> device_;
  std::vector<Slot> host_;
  std::vector<std::uint64_t> hashes_;  ///< of the context of each token of the step
  std::vector<Slot> context_;          ///< scratch
  std::int64_t steps_ = 0;
  std::uint64_t digest_ = 0;
};

}  // namespace pagelab
