// KernelProbe: the time of decode attention over KV that stands in the pool as paged serving leaves it, or
// one sequence after the other, on any backend: one layer's call, one token per sequence, in real time. It
// has a backend of its own and more layers than the caches hold, which take turns.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/ops.h"

namespace pagelab {

/// What the kernel works on: sequences of equal context.
struct KernelCall {
  std::int32_t batch = 0;
  std::int32_t context = 0;
  std::int32_t heads = 0;  ///< of queries and of K and V
  std::int32_t head_size = 0;
  std::int32_t block_size = 0;
  kernels::DType dtype = kernels::DType::bf16;  ///< of K and V
  bool scattered = false;                       ///< the blocks lie anywhere in the pool
  std::int64_t kv_bytes = 0;                    ///< of all layers; caches hold less
};

class KernelProbe {
 public:
  /// Writes K and V of all positions. Throws what `ops` throws if the pool does not fit.
  KernelProbe(std::unique_ptr<kernels::Ops> ops, const KernelCall& call);

  /// Seconds of one call: as the backend measures its operations.
  double time_call();

 private:
  void scatter();
  void fill();
  /// A matrix whose elements are all alike.
  kernels::Tensor filled(std::int32_t rows, std::int32_t cols);

  std::unique_ptr<kernels::Ops> ops_;
  KernelCall call_;
  std::unique_ptr<kernels::Weight> row_;  ///< of queries, keys and values
  std::int32_t layers_ = 0;
  std::int32_t layer_ = 0;
  std::int32_t blocks_ = 0;  ///< of a sequence
  std::vector<std::int32_t> indices_, query_indptr_, kv_indptr_, last_block_len_, positions_;
};

}  // namespace pagelab
