// Which decode kernel serves which call: by storage type, head size and group.
#include "kernels/cuda/decode_attention.h"

#include <stdexcept>
#include <string>

#include "kernels/cuda/decode_mma.cuh"
#include "kernels/cuda/decode_simt.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/merge_partials.cuh"
#include "kernels/cuda/vectors.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {
namespace {

/// Query heads that a block of decode_simt serves when the group is larger than 1, in f32. Larger groups take
/// several blocks, whose KV comes from L2 for all but the first: q and the results of more heads would not
/// fit the registers.
constexpr int kSimtHeads = 4;

/// One call of attention: everything but its types.
template <class Source>
struct Call {
  cudaStream_t stream;
  DecodeLaunch<Source> launch;
  const DecodeWork& work;

  template <class Shared, class Kernel>
  void start(Kernel kernel, std::int32_t heads_per_block) {
    launch.tiles = (launch.group + heads_per_block - 1) / heads_per_block;
    const auto blocks = static_cast<unsigned>(work.item_count * launch.kv_heads * launch.tiles);
    PAGELAB_CUDA_VARIANT::launch(stream, dim3(blocks), dim3(kDecodeThreads), sizeof(Shared), kernel, launch);
  }

  template <class T, int kHeadSize>
  void run() {
    if (launch.group == 1) {
      start<WarpResults<1, kHeadSize>>(decode_simt<T, kHeadSize, 1, Source>, 1);
    } else if constexpr (sizeof(T) == 4) {
      start<WarpResults<kSimtHeads, kHeadSize>>(decode_simt<T, kHeadSize, kSimtHeads, Source>, kSimtHeads);
    } else {
      start<MmaShared<T, kHeadSize>>(decode_mma<T, kHeadSize, Source>, kMmaHeads);
    }
    merge<kHeadSize>();
  }

  template <int kHeadSize>
  void merge() {
    const auto blocks = static_cast<unsigned>(work.merge_count * launch.queries.heads);
    PAGELAB_CUDA_VARIANT::launch(stream, dim3(blocks), dim3(kDecodeThreads), sizeof(MergeShared<kHeadSize>),
                                 merge_partials<kHeadSize, Source>, launch, work.merges);
  }

  template <class T>
  void run(std::int32_t head_size) {
    switch (head_size) {
      case 64:
        return run<T, 64>();
      case 80:
        return run<T, 80>();
      case 96:
        return run<T, 96>();
      case 128:
        return run<T, 128>();
      case 256:
        return run<T, 256>();
      default:
        throw std::invalid_argument("decode attention has no kernel for head size " +
                                    std::to_string(head_size));
    }
  }
};

template <class Source, class Kv>
void attend(cudaStream_t stream, const AttentionQueries& queries, const Kv& kv, const Source& source,
            const DecodeWork& work) {
  constexpr float kLog2E = 1.4426950408889634f;
  const DecodeLaunch<Source> launch{source,
                                    queries,
                                    work.items,
                                    work.workspace,
                                    queries.scale * kLog2E,
                                    kv.kv_heads,
                                    queries.heads / kv.kv_heads,
                                    1};
  Call<Source> call{stream, launch, work};
  with_storage_type(kv.dtype, [&](auto zero) { call.template run<decltype(zero)>(kv.head_size); });
}

}  // namespace

std::int64_t decode_workspace(std::int32_t partials, std::int32_t heads, std::int32_t head_size) {
  return std::int64_t{partials} * heads * (head_size + kRecordTail);
}

void decode_attention(cudaStream_t stream, const AttentionQueries& queries, const PagedKv& kv,
                      const DeviceBatch& batch, const DecodeWork& work) {
  attend(stream, queries, kv, PagedSource(kv, batch), work);
}

void contiguous_decode_attention(cudaStream_t stream, const AttentionQueries& queries, const ContiguousKv& kv,
                                 const DecodeWork& work) {
  attend(stream, queries, kv, ContiguousSource(kv), work);
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
