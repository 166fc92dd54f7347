#include "models/check_device.h"

#include <fmt/format.h>

#include "core/random.h"

namespace pagelab {

namespace {

/// The finalizer of splitmix64 (Steele et al., OOPSLA 2014) over both.
std::uint64_t mixed(std::uint64_t hash, std::uint64_t value) {
  hash = (hash + 0x9e3779b97f4a7c15) ^ (value * 0xbf58476d1ce4e5b9);
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111eb;
  return hash ^ (hash >> 31);
}

}  // namespace

CheckDevice::CheckDevice(std::int64_t device_blocks, std::int64_t host_blocks, std::int64_t block_size,
                         std::int32_t vocabulary)
    : capacity_{.device_blocks = Blocks(device_blocks),
                .host_blocks = Blocks(host_blocks),
                .block_size = Tokens(block_size),
                .block_bytes = Bytes(block_size * 8),
                .max_positions = Tokens(4096),
                .vocabulary = vocabulary},
      device_(static_cast<std::size_t>(device_blocks * block_size)),
      host_(static_cast<std::size_t>(host_blocks * block_size)) {}

void CheckDevice::note(std::uint64_t value) {
  digest_ = mixed(digest_, value);
}

void CheckDevice::execute(const StepBatch& batch, StepResult& result) {
  note(static_cast<std::uint64_t>(steps_));
  copy(batch.swap_out, device_, host_);
  copy(batch.swap_in, host_, device_);
  copy(batch.copies, device_, device_);
  write(batch);
  hashes_.clear();
  for (const Chunk& chunk : batch.chunks) {
    read_context(batch, chunk);
  }
  std::size_t place = 0;
  for (const SampleRow& sample : batch.samples) {
    draw(sample, result, place);
  }
  result.duration = Seconds(0.01 + 0.001 * static_cast<double>(batch.tokens.size()));
  ++steps_;
}

void CheckDevice::copy(const std::vector<BlockCopy>& copies, const std::vector<Slot>& from,
                       std::vector<Slot>& to) {
  const auto size = static_cast<std::size_t>(capacity_.block_size.value());
  for (const BlockCopy& c : copies) {
    if ((c.source.index() + 1) * size > from.size() || (c.target.index() + 1) * size > to.size()) {
      throw ContentError(fmt::format("step {}: block {} is copied to block {}, and one of them is not there",
                                     steps_, c.source.value(), c.target.value()));
    }
    note(static_cast<std::uint64_t>(c.source.value()));
    note(static_cast<std::uint64_t>(c.target.value()));
    for (std::size_t i = 0; i < size; ++i) {
      to[c.target.index() * size + i] = from[c.source.index() * size + i];
    }
  }
}

CheckDevice::Slot& CheckDevice::slot(const Chunk& chunk, std::int32_t position) {
  const auto size = static_cast<std::size_t>(capacity_.block_size.value());
  const auto p = static_cast<std::size_t>(position);
  if (p / size >= chunk.blocks.size() || chunk.blocks[p / size].index() >= device_.size() / size) {
    throw ContentError(
        fmt::format("step {}: position {} of a sequence lies in no block of the device", steps_, position));
  }
  return device_[chunk.blocks[p / size].index() * size + p % size];
}

void CheckDevice::write(const StepBatch& batch) {
  for (const Chunk& chunk : batch.chunks) {
    for (std::int32_t i = 0; i < chunk.count; ++i) {
      const std::int32_t position = chunk.first + i;
      slot(chunk, position) = {batch.tokens[static_cast<std::size_t>(chunk.row + i)], position};
    }
  }
}

void CheckDevice::read_context(const StepBatch& batch, const Chunk& chunk) {
  std::uint64_t hash = 7;
  for (std::int32_t p = 0; p < chunk.first + chunk.count; ++p) {
    const Slot found = slot(chunk, p);
    const bool own =
        p < chunk.first || found.token == batch.tokens[static_cast<std::size_t>(chunk.row + p - chunk.first)];
    if (found.position != p || !own) {
      throw ContentError(fmt::format(
          "step {}: a sequence reads a slot that is not its own: at its position {} there is {}", steps_, p,
          found.position < 0 ? "nothing" : fmt::format("a token of position {}", found.position)));
    }
    hash = mixed(hash, static_cast<std::uint64_t>(found.token));
    if (p >= chunk.first) {
      hashes_.push_back(hash);
    }
  }
  note(hash);
  for (const BlockId block : chunk.blocks) {
    note(static_cast<std::uint64_t>(block.value()));
  }
}

void CheckDevice::draw(const SampleRow& sample, StepResult& result, std::size_t& place) const {
  const std::uint64_t hash = hashes_[static_cast<std::size_t>(sample.row)];
  for (std::int32_t i = 0; i < sample.count; ++i) {
    const auto number = static_cast<std::uint32_t>(i);
    std::uint64_t bits = hash;
    if (sample.kind == SampleRow::Kind::random) {
      bits = derive_seed(hash ^ sample.seed, "draw", sample.stream + number + 1000u * sample.position);
    } else if (sample.kind == SampleRow::Kind::top) {
      bits = derive_seed(hash, "top", number);
    }
    const float spread = static_cast<float>(bits % 997) / 997.0f;
    const auto token = static_cast<TokenId>(bits / 1000 % static_cast<std::uint64_t>(capacity_.vocabulary));
    result.candidates[place++] = {token, sample.kind == SampleRow::Kind::top
                                             ? -0.1f - static_cast<float>(i) * 0.5f - spread * 0.4f
                                             : -1.0f - spread};
  }
}

}  // namespace pagelab
