#include "kernels/emu/gemm.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/emu/float16.h"

namespace pagelab::emu {
namespace {

// A tile of the product is kRows x kColumns: eight vectors of four, which leaves half of SSE's registers for
// operands.
constexpr std::ptrdiff_t kLanes = 4;
constexpr std::ptrdiff_t kVectors = 2;
constexpr std::ptrdiff_t kRows = kLanes * kVectors;
constexpr std::ptrdiff_t kColumns = 4;
using Vector = float __attribute__((vector_size(kLanes * sizeof(float))));

float read(const void* data, Number number, std::ptrdiff_t index) {
  switch (number) {
    case Number::f16:
      return f16_to_float(static_cast<const std::uint16_t*>(data)[index]);
    case Number::bf16:
      return bf16_to_float(static_cast<const std::uint16_t*>(data)[index]);
    default:
      return static_cast<const float*>(data)[index];
  }
}

void write(void* data, Number number, std::ptrdiff_t index, float value) {
  switch (number) {
    case Number::f16:
      static_cast<std::uint16_t*>(data)[index] = float_to_f16(value);
      break;
    case Number::bf16:
      static_cast<std::uint16_t*>(data)[index] = float_to_bf16(value);
      break;
    default:
      static_cast<float*>(data)[index] = value;
  }
}

/// panel[p * width + i] = line i, element p, where lines lie `line` and elements `element` apart; lines from
/// `lines` on are 0.
template <Number number>
void pack_as(const void* data, std::ptrdiff_t line, std::ptrdiff_t element, std::ptrdiff_t lines,
             std::ptrdiff_t k, std::ptrdiff_t width, float* panel) {
  for (std::ptrdiff_t p = 0; p < k; ++p) {
    for (std::ptrdiff_t i = 0; i < width; ++i) {
      panel[p * width + i] = i < lines ? read(data, number, i * line + p * element) : 0.0f;
    }
  }
}

void pack(Number number, const void* data, std::ptrdiff_t line, std::ptrdiff_t element, std::ptrdiff_t lines,
          std::ptrdiff_t k, std::ptrdiff_t width, float* panel) {
  const auto pack_number = number == Number::f32   ? pack_as<Number::f32>
                           : number == Number::f16 ? pack_as<Number::f16>
                                                   : pack_as<Number::bf16>;
  pack_number(data, line, element, lines, k, width, panel);
}

const void* at(const void* data, Number number, std::ptrdiff_t index) {
  return static_cast<const std::byte*>(data) + index * static_cast<std::ptrdiff_t>(size_of(number));
}

/// tile[j * kRows + i] = sum over p of a[p][i] * b[p][j].
void multiply_tile(std::ptrdiff_t k, const float* a, const float* b, float* tile) {
  Vector sums[kColumns][kVectors] = {};
  for (std::ptrdiff_t p = 0; p < k; ++p) {
    Vector column[kVectors];
    std::memcpy(column, a + p * kRows, sizeof(column));
    for (std::ptrdiff_t j = 0; j < kColumns; ++j) {
      for (std::ptrdiff_t v = 0; v < kVectors; ++v) {
        sums[j][v] += column[v] * b[p * kColumns + j];
      }
    }
  }
  std::memcpy(tile, sums, sizeof(sums));
}

struct Scale {
  float alpha, beta;
};

void store_tile(const float* tile, Scale scale, const Product& c, std::ptrdiff_t row, std::ptrdiff_t rows,
                std::ptrdiff_t column, std::ptrdiff_t columns) {
  for (std::ptrdiff_t j = 0; j < columns; ++j) {
    for (std::ptrdiff_t i = 0; i < rows; ++i) {
      const std::ptrdiff_t index = row + i + (column + j) * c.leading;
      float value = scale.alpha * tile[j * kRows + i];
      if (scale.beta != 0) {
        value += scale.beta * read(c.data, c.number, index);
      }
      write(c.data, c.number, index, value);
    }
  }
}

}  // namespace

void gemm(std::ptrdiff_t m, std::ptrdiff_t n, std::ptrdiff_t k, float alpha, const Operand& a,
          const Operand& b, float beta, const Product& c) {
  const std::ptrdiff_t a_row = a.transposed ? a.leading : 1;
  const std::ptrdiff_t a_column = a.transposed ? 1 : a.leading;
  const std::ptrdiff_t b_row = b.transposed ? b.leading : 1;
  const std::ptrdiff_t b_column = b.transposed ? 1 : b.leading;

  const std::ptrdiff_t column_panels = (n + kColumns - 1) / kColumns;
  std::vector<float> packed_b(static_cast<std::size_t>(column_panels * kColumns * k));
  for (std::ptrdiff_t column = 0; column < n; column += kColumns) {
    pack(b.number, at(b.data, b.number, column * b_column), b_column, b_row, std::min(kColumns, n - column),
         k, kColumns, packed_b.data() + column * k);
  }
  std::vector<float> packed_a(static_cast<std::size_t>(kRows * k));
  float tile[kRows * kColumns];
  for (std::ptrdiff_t row = 0; row < m; row += kRows) {
    const std::ptrdiff_t rows = std::min(kRows, m - row);
    pack(a.number, at(a.data, a.number, row * a_row), a_row, a_column, rows, k, kRows, packed_a.data());
    for (std::ptrdiff_t column = 0; column < n; column += kColumns) {
      multiply_tile(k, packed_a.data(), packed_b.data() + column * k, tile);
      store_tile(tile, {alpha, beta}, c, row, rows, column, std::min(kColumns, n - column));
    }
  }
}

}  // namespace pagelab::emu
