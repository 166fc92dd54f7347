// A LLaMA or an OPT in double and plain loops, whose every token attends to the positions that the caller
// names: what a sequence that does not keep all of its tokens should compute. Knows no slot, no block and no
// batch.
#pragma once

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "kernels/cpu/float_convert.h"
#include "kernels/reference/linear.h"
#include "kernels/reference/norm.h"
#include "kernels/reference/rotary.h"
#include "models/checkpoint.h"
#include "models/family.h"
#include "models/llama.h"
#include "models/weights.h"

namespace pagelab::test {

class MaskedReference {
 public:
  explicit MaskedReference(const std::string& folder)
      : shape_(resolve_shape(folder)),
        checkpoint_(std::filesystem::path(folder)),
        weights_(checkpoint_, shape_),
        kv_(static_cast<std::size_t>(shape_.layers)) {}

  const ModelShape& shape() const { return shape_; }

  /// The logits after the sequence's next token, which attends to the positions `kept`, its own the last of
  /// them. `attention[i]` grows by the softmax weights that kept[i] receives, over all heads and layers.
  std::vector<double> next(TokenId token, const std::vector<std::int32_t>& kept,
                           std::vector<double>& attention) {
    const auto position = static_cast<std::int32_t>(kv_.front().size());
    Row x = row_of(matrix("embed_tokens.weight", shape_.vocab, shape_.hidden), token);
    if (!rotary()) {
      add(x, row_of(matrix("embed_positions.weight", shape_.max_positions + shape_.family->position_padding,
                           shape_.hidden),
                    position + shape_.family->position_padding));
    }
    for (std::int32_t layer = 0; layer < shape_.layers; ++layer) {
      const std::string at = fmt::format("layers.{}.", layer);
      const Row normed = norm(x, at + (rotary() ? "input_layernorm" : "self_attn_layer_norm"));
      add(x, attend(at + "self_attn.", layer, normed, position, kept, attention));
      add(x, feed_forward(at, norm(x, at + (rotary() ? "post_attention_layernorm" : "final_layer_norm"))));
    }
    x = norm(x, rotary() ? "norm" : "final_layer_norm");
    return kernels::reference::linear(x, matrix("embed_tokens.weight", shape_.vocab, shape_.hidden), {}, 1,
                                      shape_.vocab, shape_.hidden, kernels::Activation::none);
  }

 private:
  using Row = std::vector<float>;
  struct Kv {
    Row k, v;
  };

  bool rotary() const { return shape_.family->rotary; }

  static Row narrowed(const std::vector<double>& wide) { return {wide.begin(), wide.end()}; }
  static void add(Row& x, const Row& y) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] += y[i];
    }
  }
  Row row_of(const Row& table, std::int32_t row) const {
    const auto first = table.begin() + std::ptrdiff_t{row} * shape_.hidden;
    return {first, first + shape_.hidden};
  }
  /// A tensor of the checkpoint; rows 0: a vector.
  const Row& matrix(const std::string& name, std::int64_t rows, std::int64_t cols) {
    Row& tensor = cached_[name];
    if (tensor.empty()) {
      const kernels::HostTensor read = weights_.read({.name = name, .rows = rows, .cols = cols}, buffer_);
      for (std::int64_t i = 0; i < std::max<std::int64_t>(rows, 1) * cols; ++i) {
        tensor.push_back(kernels::cpu::load_as_f32(read.data, read.dtype, i));
      }
    }
    return tensor;
  }
  Row norm(const Row& x, const std::string& name) {
    const Row& gamma = matrix(name + ".weight", 0, shape_.hidden);
    return narrowed(rotary() ? kernels::reference::rms_norm(x, gamma, shape_.norm_epsilon)
                             : kernels::reference::layer_norm(
                                   x, gamma, matrix(name + ".bias", 0, shape_.hidden), shape_.norm_epsilon));
  }
  Row linear(const std::string& name, const Row& x, std::int32_t rows,
             kernels::Activation activation = kernels::Activation::none) {
    const auto cols = static_cast<std::int32_t>(x.size());
    const Row bias = rotary() ? Row() : matrix(name + ".bias", 0, rows);
    return narrowed(
        kernels::reference::linear(x, matrix(name + ".weight", rows, cols), bias, 1, rows, cols, activation));
  }
  Row feed_forward(const std::string& at, const Row& x) {
    if (!rotary()) {
      return linear(at + "fc2", linear(at + "fc1", x, shape_.ffn, shape_.activation), shape_.hidden);
    }
    Row gated = linear(at + "mlp.up_proj", x, shape_.ffn);
    const Row gate = linear(at + "mlp.gate_proj", x, shape_.ffn);
    for (std::size_t i = 0; i < gated.size(); ++i) {
      gated[i] *= gate[i] / (1 + std::exp(-gate[i]));
    }
    return linear(at + "mlp.down_proj", gated, shape_.hidden);
  }
  Row attend(const std::string& at, std::int32_t layer, const Row& x, std::int32_t position,
             const std::vector<std::int32_t>& kept, std::vector<double>& attention) {
    const std::int32_t size = shape_.head_size;
    Row q = rotated(linear(at + "q_proj", x, shape_.query_width()), position);
    auto& kv = kv_[static_cast<std::size_t>(layer)];
    kv.push_back({rotated(linear(at + "k_proj", x, shape_.kv_width()), position),
                  linear(at + "v_proj", x, shape_.kv_width())});
    Row mixed(q.size());
    for (std::int32_t head = 0; head < shape_.heads; ++head) {
      const std::int32_t kv_head = head / (shape_.heads / shape_.kv_heads);
      std::vector<double> scores;
      double sum = 0;
      for (const std::int32_t key : kept) {
        double score = 0;
        for (std::int32_t d = 0; d < size; ++d) {
          score += double{q[static_cast<std::size_t>(head * size + d)]} *
                   double{kv[static_cast<std::size_t>(key)].k[static_cast<std::size_t>(kv_head * size + d)]};
        }
        scores.push_back(std::exp(score / std::sqrt(size)));
        sum += scores.back();
      }
      for (std::size_t i = 0; i < kept.size(); ++i) {
        attention[i] += scores[i] / sum;
        for (std::int32_t d = 0; d < size; ++d) {
          mixed[static_cast<std::size_t>(head * size + d)] += static_cast<float>(
              scores[i] / sum *
              double{kv[static_cast<std::size_t>(kept[i])].v[static_cast<std::size_t>(kv_head * size + d)]});
        }
      }
    }
    return linear(at + (rotary() ? "o_proj" : "out_proj"), mixed, shape_.hidden);
  }
  Row rotated(const Row& heads, std::int32_t position) const {
    if (!rotary()) {
      return heads;
    }
    Row out;
    const std::vector<float> frequencies = rotary_frequencies(shape_);
    for (std::size_t head = 0; head < heads.size(); head += static_cast<std::size_t>(shape_.head_size)) {
      const auto one = std::span(heads).subspan(head, static_cast<std::size_t>(shape_.head_size));
      const Row turned = narrowed(kernels::reference::rotary(one, position, frequencies));
      out.insert(out.end(), turned.begin(), turned.end());
    }
    return out;
  }

  ModelShape shape_;
  Checkpoint checkpoint_;
  CheckpointWeights weights_;
  HostBuffer buffer_;
  std::map<std::string, Row> cached_;
  std::vector<std::vector<Kv>> kv_;  ///< [layer][position]
};

}  // namespace pagelab::test
