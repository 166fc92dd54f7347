// kPage: the unit in which the emulator maps and protects memory.
#pragma once

#include <cstddef>

namespace pagelab::emu::detail {

inline constexpr std::size_t kPage = 4096;

}  // namespace pagelab::emu::detail
