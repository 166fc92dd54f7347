#include "kernels/cuda/ops/weights.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/cpu/float_convert.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {
namespace {

/// Converted and uploaded at a time, so that the host needs no second copy of a large matrix.
constexpr std::int64_t kChunkBytes = std::int64_t{16} << 20;

template <DType From>
float load(const void* data, std::int64_t index) {
  return cpu::load_as_f32(data, From, index);
}

template <DType To>
void store(void* data, std::int64_t index, float value) {
  if constexpr (To == DType::f32) {
    static_cast<float*>(data)[index] = value;
  } else {
    static_cast<std::uint16_t*>(data)[index] =
        To == DType::bf16 ? cpu::f32_to_bf16(value) : cpu::f32_to_f16(value);
  }
}

/// out[i] = source[first + i * stride], i < count.
template <DType From, DType To>
void convert_run(const void* source, std::int64_t first, std::int64_t stride, std::int64_t count, void* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    store<To>(out, i, load<From>(source, first + i * stride));
  }
}

using ConvertRun = void (*)(const void*, std::int64_t, std::int64_t, std::int64_t, void*);

template <DType From>
ConvertRun conversion_to(DType to) {
  switch (to) {
    case DType::f32:
      return convert_run<From, DType::f32>;
    case DType::bf16:
      return convert_run<From, DType::bf16>;
    case DType::f16:
      return convert_run<From, DType::f16>;
  }
  return nullptr;
}

ConvertRun conversion(DType from, DType to) {
  switch (from) {
    case DType::f32:
      return conversion_to<DType::f32>(to);
    case DType::bf16:
      return conversion_to<DType::bf16>(to);
    case DType::f16:
      return conversion_to<DType::f16>(to);
  }
  return nullptr;
}

void upload(const void* source, std::byte* target, std::int64_t bytes) {
  check(cudaMemcpy(target, source, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice), "cudaMemcpy");
}

void upload_part(const HostTensor& part, DType storage, std::byte* target) {
  const auto row_bytes = part.cols * static_cast<std::int64_t>(size_of(storage));
  if (!part.transposed && part.dtype == storage) {
    upload(part.data, target, part.rows * row_bytes);
    return;
  }
  const ConvertRun convert_row = conversion(part.dtype, storage);
  const std::int64_t chunk_rows = std::clamp<std::int64_t>(kChunkBytes / row_bytes, 1, part.rows);
  std::vector<std::byte> chunk(static_cast<std::size_t>(chunk_rows * row_bytes));
  for (std::int64_t row = 0; row < part.rows; row += chunk_rows) {
    const std::int64_t rows = std::min(chunk_rows, part.rows - row);
    for (std::int64_t i = 0; i < rows; ++i) {
      const std::int64_t first = part.transposed ? row + i : (row + i) * part.cols;
      convert_row(part.data, first, part.transposed ? part.rows : 1, part.cols, chunk.data() + i * row_bytes);
    }
    upload(chunk.data(), target + row * row_bytes, rows * row_bytes);
  }
}

}  // namespace

CudaWeight::CudaWeight(std::int64_t rows, std::int64_t cols, DType storage, std::span<const HostTensor> parts)
    : rows_(rows),
      cols_(cols),
      dtype_(storage),
      memory_(static_cast<std::size_t>(rows * cols) * size_of(storage),
              "a weight of " + std::to_string(rows) + " x " + std::to_string(cols)) {
  std::byte* target = memory_.data();
  for (const HostTensor& part : parts) {
    if (part.rows > 0 && part.cols > 0) {
      upload_part(part, storage, target);
      target += static_cast<std::size_t>(part.rows * part.cols) * size_of(storage);
    }
  }
  // A copy from pageable memory may return before it has arrived, and the stream that computes does not wait
  // for the default stream.
  check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
}

std::unique_ptr<CudaWeight> CudaWeight::matrix(std::span<const HostTensor> parts, DType storage) {
  const std::int64_t cols = parts.front().cols;
  std::int64_t rows = 0;
  for (const HostTensor& part : parts) {
    if (part.cols != cols) {
      throw std::invalid_argument("stacked weights must have the same number of columns");
    }
    rows += part.rows;
  }
  return std::unique_ptr<CudaWeight>(new CudaWeight(rows, cols, storage, parts));
}

std::unique_ptr<CudaWeight> CudaWeight::vector(std::span<const HostTensor> parts) {
  std::int64_t size = 0;
  for (const HostTensor& part : parts) {
    size += part.rows * part.cols;
  }
  return std::unique_ptr<CudaWeight>(new CudaWeight(1, size, DType::f32, parts));
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
