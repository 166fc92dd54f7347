#include "core/prefix_index.h"

#include <cstring>

namespace pagelab {

namespace {

/// Both halves of a 128-bit product, folded: each input bit reaches every output bit.
std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

}  // namespace

std::uint64_t hash_tokens(std::uint64_t seed, std::span<const TokenId> tokens) {
  std::uint64_t hash = seed ^ 0x9e3779b97f4a7c15;
  std::size_t i = 0;
  for (; i + 4 <= tokens.size(); i += 4) {
    std::uint64_t pair[2];
    std::memcpy(pair, tokens.data() + i, sizeof pair);
    hash = fold(hash ^ pair[0] ^ 0xa0761d6478bd642f, pair[1] ^ 0xe7037ed1a0b428db);
  }
  for (; i < tokens.size(); ++i) {
    hash = fold(hash ^ static_cast<std::uint32_t>(tokens[i]), 0x8ebc6af09c88c6e3);
  }
  return fold(hash ^ tokens.size(), 0x589965cc75374cc3);
}

}  // namespace pagelab
