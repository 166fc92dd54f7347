#include "kernels/cpu/packed_matrix.h"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "kernels/cpu/float_convert.h"

namespace pagelab::kernels::cpu {
namespace {

/// Rows of the source are read in runs of this many values, so that the panel's lines being written stay
/// cached.
constexpr std::int64_t kRun = 64;

/// One row of the weight in host memory: value k is at first + k * stride (in elements).
struct Source {
  const void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t first = 0;
  std::int64_t stride = 0;

  float value(std::int64_t k) const { return load_as_f32(data, dtype, first + k * stride); }
};

Source find_row(std::span<const HostTensor> parts, std::int64_t row) {
  for (const HostTensor& part : parts) {
    if (row < part.rows) {
      return part.transposed ? Source{part.data, part.dtype, row, part.rows}
                             : Source{part.data, part.dtype, row * part.cols, 1};
    }
    row -= part.rows;
  }
  return {};
}

/// Where value `column` of a step stands, in elements.
std::int64_t place_of(std::int64_t column, DType dtype) {
  constexpr std::int64_t kHalf = kPanelWidth / 2;
  return dtype == DType::bf16 ? column % kHalf * 2 + column / kHalf : column;
}

void store(std::byte* panel, DType dtype, std::int64_t at, float value) {
  if (dtype == DType::f32) {
    reinterpret_cast<float*>(panel)[at] = value;
  } else {
    reinterpret_cast<std::uint16_t*>(panel)[at] =
        dtype == DType::bf16 ? f32_to_bf16(value) : f32_to_f16(value);
  }
}

/// Fetches the line at `data`: the hardware does not foresee reads at a stride of a whole line across pages.
void read_ahead(const std::byte* data) {
  __builtin_prefetch(data, 0, 3);
}

}  // namespace

PackedMatrix::PackedMatrix(ThreadPool& pool, std::span<const HostTensor> parts, DType storage)
    : cols_(parts.front().cols), dtype_(storage) {
  for (const HostTensor& part : parts) {
    if (part.cols != cols_) {
      throw std::invalid_argument("stacked weights must have the same number of columns");
    }
    rows_ += part.rows;
  }
  memory_ = HugeMemory(static_cast<std::size_t>(panels() * panel_bytes()));
  pool.for_each(panels(), [&](std::int64_t panel, int) { pack_panel(parts, panel); });
}

void PackedMatrix::pack_panel(std::span<const HostTensor> parts, std::int64_t panel) {
  const std::int64_t first_row = panel * kPanelWidth;
  const std::int64_t width = std::min<std::int64_t>(kPanelWidth, rows_ - first_row);
  std::array<Source, kPanelWidth> sources;
  for (std::int64_t column = 0; column < width; ++column) {
    sources[column] = find_row(parts, first_row + column);
  }
  std::byte* target = memory_.data() + panel * panel_bytes();
  for (std::int64_t start = 0; start < cols_; start += kRun) {
    const std::int64_t end = std::min(start + kRun, cols_);
    for (std::int64_t column = 0; column < width; ++column) {
      const std::int64_t place = place_of(column, dtype_);
      for (std::int64_t k = start; k < end; ++k) {
        store(target, dtype_, k * kPanelWidth + place, sources[column].value(k));
      }
    }
  }
}

void PackedMatrix::read_row(std::int64_t row, float* out, bool accumulate) const {
  const std::byte* source = panel(row / kPanelWidth);
  const std::int64_t place = place_of(row % kPanelWidth, dtype_);
  const std::int64_t bytes = step_bytes();
  const auto read_all = [&](auto read) {
    for (std::int64_t k = 0; k < cols_; ++k) {
      read_ahead(source + (k + kRun) * bytes);
      const float value = read(source + k * bytes);
      out[k] = accumulate ? out[k] + value : value;
    }
  };
  switch (dtype_) {
    case DType::f32:
      return read_all([&](const std::byte* step) { return reinterpret_cast<const float*>(step)[place]; });
    case DType::bf16:
      return read_all([&](const std::byte* step) {
        return bf16_to_f32(reinterpret_cast<const std::uint16_t*>(step)[place]);
      });
    case DType::f16:
      return read_all([&](const std::byte* step) {
        return f16_to_f32(reinterpret_cast<const std::uint16_t*>(step)[place]);
      });
  }
}

}  // namespace pagelab::kernels::cpu
