#include "kernels/reference/attention.h"

#include <algorithm>
#include <cmath>

namespace pagelab::kernels::reference {
namespace {

struct Head {
  const LoadKv& load_k;
  const std::int32_t* blocks;
  std::int32_t block_size;
  std::int32_t kv_head;
  std::int32_t head_size;
};

/// softmax(scale * q . K) over the first `context` slots.
std::vector<double> softmax(const Head& head, const float* q, double scale, std::int32_t context) {
  std::vector<double> weights(static_cast<std::size_t>(context));
  for (std::int32_t t = 0; t < context; ++t) {
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
  for (double& weight : weights) {
    weight /= sum;
  }
  return weights;
}

/// softmax(scale * q . K) V over the first `context` slots.
void attend(const Head& head, const LoadKv& load_v, const float* q, double scale, std::int32_t context,
            double* out) {
  const std::vector<double> weights = softmax(head, q, scale, context);
  for (std::int32_t d = 0; d < head.head_size; ++d) {
    double value = 0;
    for (std::int32_t t = 0; t < context; ++t) {
      value += weights[static_cast<std::size_t>(t)] *
               load_v(head.blocks[t / head.block_size], head.kv_head, t % head.block_size, d);
    }
    out[d] = value;
  }
}

/// Slots that a token of a sequence sees.
std::int32_t context_of(const AttentionBatch& batch, std::size_t sequence, std::int32_t token,
                        std::int32_t block_size) {
  return batch.context(sequence, block_size) - (batch.query_indptr[sequence + 1] - 1 - token);
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
        const Head kv{load_k, blocks, shape.block_size, head / group, shape.head_size};
        attend(kv, load_v, qkv.row(token) + head * shape.head_size, scale,
               context_of(batch, sequence, token, shape.block_size),
               out.data() + (std::ptrdiff_t{token} * heads + head) * shape.head_size);
      }
    }
  }
  return out;
}

std::vector<double> slot_weights(const KvShape& shape, const LoadKv& load_k, Tensor qkv, std::int32_t heads,
                                 double scale, const AttentionBatch& batch, std::size_t sequence) {
  std::vector<double> sums(static_cast<std::size_t>(batch.context(sequence, shape.block_size)));
  const std::int32_t* blocks = batch.kv_indices.data() + batch.kv_indptr[sequence];
  for (std::int32_t token = batch.query_indptr[sequence]; token < batch.query_indptr[sequence + 1]; ++token) {
    for (std::int32_t head = 0; head < heads; ++head) {
      const Head kv{load_k, blocks, shape.block_size, head / (heads / shape.kv_heads), shape.head_size};
      const std::vector<double> weights = softmax(kv, qkv.row(token) + head * shape.head_size, scale,
                                                  context_of(batch, sequence, token, shape.block_size));
      for (std::size_t slot = 0; slot < weights.size(); ++slot) {
        sums[slot] += weights[slot];
      }
    }
  }
  return sums;
}

}  // namespace pagelab::kernels::reference
