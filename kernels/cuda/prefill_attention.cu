#include "kernels/cuda/prefill_attention.h"

#include <stdexcept>
#include <string>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/prefill_mma.cuh"
#include "kernels/cuda/prefill_simt.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {
namespace {

/// The arguments of a launch.
struct Call {
  cudaStream_t stream;
  const AttentionQueries& queries;
  const PagedKv& kv;
  const DeviceBatch& batch;
  const PrefillItem* items;
  std::int32_t item_count;

  template <class Kernel>
  void run(Kernel* kernel, std::size_t shared_bytes) const {
    const dim3 grid(static_cast<unsigned>(queries.heads), static_cast<unsigned>(item_count));
    launch(stream, grid, dim3(kPrefillThreads), shared_bytes, kernel, queries, kv, batch, items);
  }
};

template <int kHeadSize>
void run_head_size(const Call& call) {
  switch (call.kv.dtype) {
    case DType::f32:
      return call.run(prefill_simt<kHeadSize>, sizeof(SimtShared<kHeadSize>));
    case DType::f16:
      return call.run(prefill_mma<f16, kHeadSize>, sizeof(KvStages<f16, kHeadSize, kMmaKeys<kHeadSize>>));
    case DType::bf16:
      return call.run(prefill_mma<bf16, kHeadSize>, sizeof(KvStages<bf16, kHeadSize, kMmaKeys<kHeadSize>>));
  }
}

}  // namespace

void prefill_attention(cudaStream_t stream, const AttentionQueries& queries, const PagedKv& kv,
                       const DeviceBatch& batch, const PrefillItem* items, std::int32_t item_count) {
  const Call call{stream, queries, kv, batch, items, item_count};
  switch (kv.head_size) {
    case 64:
      return run_head_size<64>(call);
    case 80:
      return run_head_size<80>(call);
    case 96:
      return run_head_size<96>(call);
    case 128:
      return run_head_size<128>(call);
    case 256:
      return run_head_size<256>(call);
    default:
      throw std::invalid_argument("prefill attention has no kernel for head size " +
                                  std::to_string(kv.head_size));
  }
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
