// The matrix product behind the emulated cuBLAS: one thread, f32 arithmetic, column-major. Every element of
// the product has one accumulator, to which products are added (rounded before they are) in the order of k;
// so it depends on its own row and column alone. Knows no stream and no allocation.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pagelab::emu {

enum class Number : std::uint8_t { f32, f16, bf16 };
constexpr std::size_t size_of(Number number) {
  return number == Number::f32 ? 4 : 2;
}

/// op(X), of which element (i, j) is at i + j * leading of `data`, or at j + i * leading if transposed.
struct Operand {
  const void* data = nullptr;
  std::ptrdiff_t leading = 0;
  Number number = Number::f32;
  bool transposed = false;
};

/// C, of which element (i, j) is at i + j * leading.
struct Product {
  void* data = nullptr;
  std::ptrdiff_t leading = 0;
  Number number = Number::f32;
};

/// c = alpha * a * b + beta * c, a [m, k], b [k, n], c [m, n]; c is not read if beta is 0.
void gemm(std::ptrdiff_t m, std::ptrdiff_t n, std::ptrdiff_t k, float alpha, const Operand& a,
          const Operand& b, float beta, const Product& c);

}  // namespace pagelab::emu
