// PagedAttention: causal attention of a mixed batch (prefill chunks and decodes) over a paged KV cache
// (SOSP'23, section 4.1), with grouped queries and long contexts split over the threads (FlashDecoding's
// scheme).
//
// Owns its scratch memory, which grows to what the largest call needed and is then reused. Borrows the cache
// and the tensors for the call. Does not write K and V (see write_kv).
//
// The output row of a token is the same to the bit whatever else is in the batch, however its sequence was
// split into chunks, and for every block size and number of threads: the context is cut into partitions of
// 256 tokens of the sequence; each has its own maximum, sum and weighted V, computed in one order of
// operations; partitions are merged in rising order. It does depend on the instruction set.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/cpu/kv_cache.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace pagelab::kernels::cpu {

class PagedAttention {
 public:
  /// Borrows the pool for its lifetime.
  explicit PagedAttention(ThreadPool& pool);
  ~PagedAttention();

  /// out[t] = softmax(scale * q[t] . K) V over the slots of the token's sequence that it sees, for every
  /// head: all of its table for its last token, one less for each before. qkv rows begin with [heads q],
  /// head_size each; out is [T, heads * head_size]. Other slots may hold anything. Requires heads to be a
  /// multiple of kv_heads. Hands out the weights that the batch asks for, in a second pass over K of those
  /// sequences.
  void run(const KvCache& cache, std::int32_t layer, Tensor qkv, std::int32_t heads, float scale,
           const AttentionBatch& batch, Tensor out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pagelab::kernels::cpu
