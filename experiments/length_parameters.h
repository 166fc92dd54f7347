// The declarations that several kinds of lengths share: a length, a bound that may be absent, a scale.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "core/parameters.h"

namespace pagelab {

/// Lengths are token counts that an int32 holds.
inline constexpr std::int64_t longest_length = std::numeric_limits<std::int32_t>::max();

/// A length of at least one token.
inline ParameterSpec length_spec(std::string name, std::int64_t standard, std::string help) {
  return {.name = std::move(name),
          .default_value = standard,
          .unit = "tokens",
          .help = std::move(help),
          .minimum = 1,
          .maximum = static_cast<double>(longest_length)};
}

/// A length where 0, the default, is none.
inline ParameterSpec bound_spec(std::string name, std::string help) {
  ParameterSpec spec = length_spec(std::move(name), 0, std::move(help));
  spec.minimum = 0;
  return spec;
}

inline ParameterSpec scale_spec() {
  return {.name = "scale",
          .default_value = 1.0,
          .help = "factor on prompt and output lengths, rounded up to at least 1 token",
          .maximum = 1e6,
          .above = 0};
}

}  // namespace pagelab
