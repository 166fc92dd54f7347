#include "models/check_device.h"

#include <algorithm>
#include <utility>

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
                .vocabulary = vocabulary,
                .row_bytes = Bytes(4),
                .retention = true},
      device_(static_cast<std::size_t>(device_blocks * block_size)),
      host_(static_cast<std::size_t>(host_blocks * block_size)) {}

std::uint64_t CheckDevice::extend_hash(std::uint64_t hash, TokenId token) {
  return mixed(hash, static_cast<std::uint64_t>(token));
}

TokenId CheckDevice::token_of(std::uint64_t hash) const {
  return static_cast<TokenId>(hash / 1000 % static_cast<std::uint64_t>(capacity_.vocabulary));
}

double CheckDevice::attention(TokenId key, std::int32_t position, std::int32_t query) {
  const std::uint64_t both = static_cast<std::uint64_t>(position) * 8192 + static_cast<std::uint64_t>(query);
  return static_cast<double>(1 + mixed(static_cast<std::uint64_t>(key), both) % 16);
}

void CheckDevice::note(std::uint64_t value) {
  digest_ = mixed(digest_, value);
}

void CheckDevice::execute(const StepBatch& batch, StepResult& result) {
  note(static_cast<std::uint64_t>(steps_));
  move(batch.moves);
  copy(batch.swap_out, device_, host_);
  copy(batch.swap_in, host_, device_);
  copy(batch.copies, device_, device_);
  write(batch);
  hashes_.clear();
  for (const Chunk& chunk : batch.chunks) {
    read_context(batch, chunk);
  }
  result.slot_weights.clear();
  for (const WeighedChunk& weighed : batch.weighed) {
    weigh(batch.chunks[static_cast<std::size_t>(weighed.chunk)], weighed.positions, result.slot_weights);
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

void CheckDevice::move(const std::vector<SlotMove>& moves) {
  for (const SlotMove& m : moves) {
    const auto source = static_cast<std::size_t>(m.source);
    const auto target = static_cast<std::size_t>(m.target);
    if (source >= device_.size() || target >= device_.size() || device_[source] == Slot{}) {
      throw ContentError(
          fmt::format("step {}: slot {} is moved to slot {}, and holds no token or is not there", steps_,
                      m.source, m.target));
    }
    note(source);
    note(target);
    device_[target] = std::exchange(device_[source], Slot{});
  }
}

CheckDevice::Slot& CheckDevice::slot(const Chunk& chunk, std::int32_t number) {
  const auto size = static_cast<std::size_t>(capacity_.block_size.value());
  const auto n = static_cast<std::size_t>(number);
  if (n / size >= chunk.blocks.size() || chunk.blocks[n / size].index() >= device_.size() / size) {
    throw ContentError(
        fmt::format("step {}: slot {} of a sequence lies in no block of the device", steps_, number));
  }
  return device_[chunk.blocks[n / size].index() * size + n % size];
}

void CheckDevice::write(const StepBatch& batch) {
  for (const Chunk& chunk : batch.chunks) {
    for (std::int32_t i = 0; i < chunk.count; ++i) {
      const std::int32_t row = chunk.row + i;
      slot(chunk, chunk.slot(i)) = {batch.tokens[static_cast<std::size_t>(row)], chunk.first + i};
    }
  }
}

void CheckDevice::read_context(const StepBatch& batch, const Chunk& chunk) {
  if (chunk.dropped > 0) {
    read_retained(chunk);
    return;
  }
  std::uint64_t hash = first_hash;
  for (std::int32_t p = 0; p < chunk.first + chunk.count; ++p) {
    const Slot found = slot(chunk, p);
    const bool own =
        p < chunk.first || found.token == batch.tokens[static_cast<std::size_t>(chunk.row + p - chunk.first)];
    if (found.position != p || !own) {
      throw ContentError(fmt::format(
          "step {}: a sequence reads a slot that is not its own: at its position {} there is {}", steps_, p,
          found.position < 0 ? "nothing" : fmt::format("a token of position {}", found.position)));
    }
    hash = extend_hash(hash, found.token);
    if (p >= chunk.first) {
      hashes_.push_back(hash);
    }
  }
  note(hash);
  for (const BlockId block : chunk.blocks) {
    note(static_cast<std::uint64_t>(block.value()));
  }
}

void CheckDevice::read_retained(const Chunk& chunk) {
  for (std::int32_t i = 0; i < chunk.count; ++i) {
    context_.clear();
    for (std::int32_t s = 0; s <= chunk.held() + i; ++s) {
      context_.push_back(slot(chunk, s));
    }
    std::ranges::sort(context_, {}, &Slot::position);
    const bool twice = std::ranges::adjacent_find(context_, {}, &Slot::position) != context_.end();
    if (context_.front().position < 0 || context_.back().position != chunk.first + i || twice) {
      throw ContentError(
          fmt::format("step {}: the token at position {} of a sequence reads a slot that is empty, holds a "
                      "later token, or one that it reads twice",
                      steps_, chunk.first + i));
    }
    std::uint64_t hash = first_hash;
    for (const Slot& found : context_) {
      hash = extend_hash(hash, found.token);
    }
    hashes_.push_back(hash);
    note(hash);
  }
}

void CheckDevice::weigh(const Chunk& chunk, std::span<const std::int32_t> positions,
                        std::vector<double>& weights) {
  if (static_cast<std::int32_t>(positions.size()) != chunk.context()) {
    throw ContentError(fmt::format("step {}: weights of {} slots are asked for, the context has {}", steps_,
                                   positions.size(), chunk.context()));
  }
  const std::size_t first = weights.size();
  weights.resize(first + positions.size(), 0.0);
  for (std::int32_t i = 0; i < chunk.count; ++i) {
    for (std::int32_t s = 0; s <= chunk.held() + i; ++s) {
      const auto number = static_cast<std::size_t>(s);
      const Slot found = slot(chunk, s);
      if (found.position != positions[number]) {
        throw ContentError(
            fmt::format("step {}: slot {} of a sequence is said to hold position {} and holds {}", steps_, s,
                        positions[number], found.position));
      }
      weights[first + number] += attention(found.token, found.position, chunk.first + i);
    }
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
    result.candidates[place++] = {token_of(bits), sample.kind == SampleRow::Kind::top
                                                      ? -0.1f - static_cast<float>(i) * 0.5f - spread * 0.4f
                                                      : -1.0f - spread};
  }
}

}  // namespace pagelab
