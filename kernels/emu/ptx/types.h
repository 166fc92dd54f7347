// The fundamental types of PTX and how a handler is chosen by type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "kernels/emu/ptx/instruction.h"

namespace pagelab::emu::ptx {

enum class Type : std::uint8_t {
  none,
  pred,
  u8,
  u16,
  u32,
  u64,
  s8,
  s16,
  s32,
  s64,
  b8,
  b16,
  b32,
  b64,
  f16,
  bf16,
  f16x2,
  bf16x2,
  f32,
  f64
};

/// `none` for anything else. The name is without its dot.
Type type_named(std::string_view name);
/// 0 for none and pred.
std::size_t bytes_of(Type type);
inline bool is_float(Type type) {
  return type == Type::f32 || type == Type::f64;
}

template <class T>
constexpr bool is_type(Type type) {
  using enum Type;
  if constexpr (std::is_same_v<T, float>) {
    return type == f32;
  } else if constexpr (std::is_same_v<T, double>) {
    return type == f64;
  } else if constexpr (std::is_signed_v<T>) {
    return type == (sizeof(T) == 1 ? s8 : sizeof(T) == 2 ? s16 : sizeof(T) == 4 ? s32 : s64);
  } else {
    switch (sizeof(T)) {
      case 1:
        return type == u8 || type == b8;
      case 2:
        return type == u16 || type == b16;
      case 4:
        return type == u32 || type == b32;
      default:
        return type == u64 || type == b64;
    }
  }
}

/// The handler that `make.operator()<T>()` gives for the T among Ts that stands for `type`; null if none
/// does.
template <class... Ts, class Make>
Handler pick(Type type, Make make) {
  Handler handler = nullptr;
  ((is_type<Ts>(type) ? void(handler = make.template operator()<Ts>()) : void()), ...);
  return handler;
}

template <class Make>
Handler pick_integer(Type type, Make make) {
  return pick<std::uint16_t, std::uint32_t, std::uint64_t, std::int16_t, std::int32_t, std::int64_t>(type,
                                                                                                     make);
}
template <class Make>
Handler pick_float(Type type, Make make) {
  return pick<float, double>(type, make);
}
/// By width alone: unsigned integers of 8 to 64 bits.
template <class Make>
Handler pick_width(std::size_t bytes, Make make) {
  switch (bytes) {
    case 1:
      return make.template operator()<std::uint8_t>();
    case 2:
      return make.template operator()<std::uint16_t>();
    case 4:
      return make.template operator()<std::uint32_t>();
    case 8:
      return make.template operator()<std::uint64_t>();
    default:
      return nullptr;
  }
}

}  // namespace pagelab::emu::ptx
