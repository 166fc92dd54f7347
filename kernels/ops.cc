#include "kernels/ops.h"

#include <array>

namespace pagelab::kernels {

std::string_view name_of(OpKind kind) {
  constexpr std::array<std::string_view, static_cast<std::size_t>(OpKind::count_)> kNames = {
      "linear", "attention", "kv_write", "norm", "rotary", "activation", "embedding", "sampling", "copy"};
  return kNames.at(static_cast<std::size_t>(kind));
}

}  // namespace pagelab::kernels
