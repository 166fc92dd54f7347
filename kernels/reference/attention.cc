#include "kernels/reference/attention.h"

#include <algorithm>
#include <cmath>

namespace pagelab::kernels::reference {
namespace {

struct Head {
  const LoadKv& load_k;
  const LoadKv& load_v;
  const std::int32_t* blocks;
  std::int32_t block_size;
  std::int32_t kv_head;
  std::int32_t head_size;
};

/// softmax(scale * q . K) V over positions 0 .. position.
void attend(const Head& head, const float* q, double scale, std::int32_t position, double* out) {
  std::vector<double> weights(static_cast<std::size_t>(position) + 1);
  for (std::int32_t t = 0; t <= position; ++t) {
    double score = 0;
    for (std::int32_t d = 0; d < head.head_size; ++d) {
      score +=
          double{q[d]} * head.load_k(head.blocks[t / head.block_size], head.kv_head, t % head.block_size, d);
    }
    weights[static_cast<std::size_t>(t)] = score * scale;
  }
  const double max = *std::max_element(weights.begin(), weights.end());
  double sum = 0;
  for (double& weight : weights) {
    weight = std::exp(weight - max);
    sum += weight;
  }
  for (std::int32_t d = 0; d < head.head_size; ++d) {
    double value = 0;
    for (std::int32_t t = 0; t <= position; ++t) {
      value += weights[static_cast<std::size_t>(t)] *
               head.load_v(head.blocks[t / head.block_size], head.kv_head, t % head.block_size, d);
    }
    out[d] = value / sum;
  }
}

}  // namespace

std::vector<double> paged_attention(const KvShape& shape, const LoadKv& load_k, const LoadKv& load_v,
                                    Tensor qkv, std::int32_t heads, double scale,
                                    const AttentionBatch& batch) {
  std::vector<double> out(batch.positions.size() * static_cast<std::size_t>(heads * shape.head_size));
  const std::int32_t group = heads / shape.kv_heads;
  for (std::size_t sequence = 0; sequence + 1 < batch.query_indptr.size(); ++sequence) {
    const std::int32_t* blocks = batch.kv_indices.data() + batch.kv_indptr[sequence];
    for (std::int32_t token = batch.query_indptr[sequence]; token < batch.query_indptr[sequence + 1];
         ++token) {
      for (std::int32_t head = 0; head < heads; ++head) {
        const Head kv{load_k, load_v, blocks, shape.block_size, head / group, shape.head_size};
        attend(kv, qkv.row(token) + head * shape.head_size, scale,
               batch.positions[static_cast<std::size_t>(token)],
               out.data() + (std::ptrdiff_t{token} * heads + head) * shape.head_size);
      }
    }
  }
  return out;
}

}  // namespace pagelab::kernels::reference
