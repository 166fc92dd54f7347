// Strong types for the identities and quantities of the engine.
//
// An Id names a thing (no arithmetic); a Quantity counts a unit (adds, subtracts, compares, scales by a plain
// number). Both are the size of their representation and cost nothing. They own nothing.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace pagelab {

template <class Tag, class Rep>
class Id {
 public:
  using rep = Rep;
  constexpr Id() = default;
  constexpr explicit Id(Rep value) : value_(value) {}
  /// The representation; also the index into the flat arrays kept per id.
  constexpr Rep value() const { return value_; }
  constexpr std::size_t index() const { return static_cast<std::size_t>(value_); }
  constexpr auto operator<=>(const Id&) const = default;

 private:
  Rep value_ = 0;
};

template <class Tag, class Rep>
class Quantity {
 public:
  using rep = Rep;
  constexpr Quantity() = default;
  constexpr explicit Quantity(Rep value) : value_(value) {}
  constexpr Rep value() const { return value_; }
  constexpr auto operator<=>(const Quantity&) const = default;

  constexpr Quantity& operator+=(Quantity other) {
    value_ += other.value_;
    return *this;
  }
  constexpr Quantity& operator-=(Quantity other) {
    value_ -= other.value_;
    return *this;
  }
  constexpr Quantity& operator++() {
    ++value_;
    return *this;
  }
  friend constexpr Quantity operator+(Quantity a, Quantity b) { return a += b; }
  friend constexpr Quantity operator-(Quantity a, Quantity b) { return a -= b; }
  friend constexpr Quantity operator*(Quantity a, Rep factor) { return Quantity(a.value_ * factor); }
  friend constexpr Quantity operator*(Rep factor, Quantity a) { return a * factor; }
  friend constexpr Quantity operator/(Quantity a, Rep divisor) { return Quantity(a.value_ / divisor); }
  /// The plain ratio of two quantities of one unit; integer quantities divide as integers.
  friend constexpr Rep operator/(Quantity a, Quantity b) { return a.value_ / b.value_; }

 private:
  Rep value_ = 0;
};

/// A physical block of one tier's pool; dense from 0.
using BlockId = Id<struct BlockTag, std::int32_t>;
/// A request, in the order in which the workload issued them; dense from 0.
using RequestId = Id<struct RequestTag, std::int32_t>;
/// A token of the vocabulary.
using TokenId = std::int32_t;

/// A number of tokens or of token slots.
using Tokens = Quantity<struct TokensTag, std::int64_t>;
/// A number of blocks.
using Blocks = Quantity<struct BlocksTag, std::int64_t>;
using Bytes = Quantity<struct BytesTag, std::int64_t>;
using Seconds = Quantity<struct SecondsTag, double>;

/// Blocks that hold `tokens` slots at `block_size` slots a block, rounded up.
constexpr Blocks blocks_for(Tokens tokens, Tokens block_size) {
  return Blocks((tokens.value() + block_size.value() - 1) / block_size.value());
}

}  // namespace pagelab

template <class Tag, class Rep>
struct std::hash<pagelab::Id<Tag, Rep>> {
  std::size_t operator()(pagelab::Id<Tag, Rep> id) const noexcept { return std::hash<Rep>{}(id.value()); }
};
