#include "core/random.h"

#include <cmath>
#include <numbers>

namespace pagelab {

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> c, std::array<std::uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * c[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<std::uint32_t>(b >> 32) ^ c[1] ^ k[0], static_cast<std::uint32_t>(b),
         static_cast<std::uint32_t>(a >> 32) ^ c[3] ^ k[1], static_cast<std::uint32_t>(a)};
    k[0] += 0x9E3779B9;
    k[1] += 0xBB67AE85;
  }
  return c;
}

std::uint64_t derive_seed(std::uint64_t seed, std::string_view name, std::uint64_t index) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a over the name; philox then mixes it with seed and index
  for (const char letter : name) {
    hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3;
  }
  const auto mixed = philox({static_cast<std::uint32_t>(hash), static_cast<std::uint32_t>(hash >> 32),
                             static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32)},
                            {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  return (std::uint64_t{mixed[1]} << 32) | mixed[0];
}

RandomStream::RandomStream(std::uint64_t seed, std::string_view subsystem) {
  const std::uint64_t derived = derive_seed(seed, subsystem);
  key_ = {static_cast<std::uint32_t>(derived), static_cast<std::uint32_t>(derived >> 32)};
}

std::uint64_t RandomStream::bits() {
  const auto r =
      philox({static_cast<std::uint32_t>(counter_), static_cast<std::uint32_t>(counter_ >> 32), 0, 0}, key_);
  ++counter_;
  return (std::uint64_t{r[1]} << 32) | r[0];
}

double RandomStream::uniform() {
  return static_cast<double>(bits() >> 11) * 0x1.0p-53;
}

std::uint64_t RandomStream::below(std::uint64_t bound) {
  const std::uint64_t excess = (0 - bound) % bound;  // 2^64 mod bound: draws below it would be favoured
  std::uint64_t draw = bits();
  while (draw < excess) {
    draw = bits();
  }
  return draw % bound;
}

double RandomStream::exponential(double rate) {
  return -std::log1p(-uniform()) / rate;
}

double RandomStream::normal() {
  const double radius = std::sqrt(2 * exponential(1));
  return radius * std::cos(2 * std::numbers::pi * uniform());
}

double RandomStream::gamma(double shape, double scale) {
  if (shape < 1) {
    const double boost = std::pow(1 - uniform(), 1 / shape);
    return gamma(shape + 1, scale) * boost;
  }
  const double d = shape - 1.0 / 3;
  const double c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = normal();
    const double v = std::pow(1 + c * x, 3);
    if (v > 0 && std::log(1 - uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) {
      return d * v * scale;
    }
  }
}

}  // namespace pagelab
