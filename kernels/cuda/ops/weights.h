// CudaWeight: a weight in device memory, row-major, in the type in which it is multiplied. Owns its memory;
// immutable once made.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "kernels/cuda/ops/device_memory.h"
#include "kernels/ops.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

class CudaWeight final : public Weight {
 public:
  /// Uploads `parts` stacked by rows, rounded to `storage` (to nearest even). Requires at least one part, all
  /// of one cols. Throws CudaError if there is no room.
  static std::unique_ptr<CudaWeight> matrix(std::span<const HostTensor> parts, DType storage);
  /// Uploads `parts` one after another, in f32.
  static std::unique_ptr<CudaWeight> vector(std::span<const HostTensor> parts);

  std::int64_t rows() const override { return rows_; }
  std::int64_t cols() const override { return cols_; }
  DType dtype() const { return dtype_; }
  const void* data() const { return memory_.data(); }
  /// Of a weight stored in f32.
  const float* floats() const { return reinterpret_cast<const float*>(memory_.data()); }

 private:
  CudaWeight(std::int64_t rows, std::int64_t cols, DType storage, std::span<const HostTensor> parts);

  std::int64_t rows_;
  std::int64_t cols_;
  DType dtype_;
  DeviceMemory memory_;
};

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
