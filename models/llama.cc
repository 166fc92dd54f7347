#include "models/llama.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "models/config.h"
#include "models/model.h"
#include "models/weights.h"

namespace pagelab {

using kernels::Activation;
using kernels::Tensor;
using kernels::Weight;

std::vector<float> rotary_frequencies(const ModelShape& shape) {
  std::vector<float> frequencies;
  for (int i = 0; i < shape.head_size / 2; ++i) {
    double frequency = std::pow(shape.rope_theta, -2.0 * i / shape.head_size);
    if (shape.rope_scaling) {  // long waves are stretched, short ones kept, those between blended
      const RopeScaling& scaling = *shape.rope_scaling;
      const double turns = scaling.original_max_positions * frequency / (2 * std::numbers::pi);
      const double blend =
          (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
      const double kept = std::clamp(blend, 0.0, 1.0);
      frequency = kept * frequency + (1 - kept) * frequency / scaling.factor;
    }
    frequencies.push_back(static_cast<float>(frequency));
  }
  return frequencies;
}

namespace {

class Llama final : public Model {
 public:
  Llama(const ModelShape& shape, WeightLoader& weights);

 private:
  struct Layer {
    std::unique_ptr<Weight> attention_norm, qkv, output;
    std::unique_ptr<Weight> ffn_norm, gate_up, down;
  };

  Tensor run(kernels::Ops& ops, std::span<const std::int32_t> ids, const kernels::AttentionBatch& batch,
             std::span<const std::int32_t> rows) override;

  std::unique_ptr<Weight> embedding_, norm_, head_;  // head_: null if tied
  std::vector<Layer> layers_;
  std::vector<float> frequencies_;
};

Llama::Llama(const ModelShape& shape, WeightLoader& weights)
    : Model(shape), frequencies_(rotary_frequencies(shape)) {
  const std::int64_t hidden = shape.hidden;
  const auto matrix = [&](const std::string& name, std::int64_t rows, std::int64_t cols) {
    return TensorSpec{.name = name + ".weight", .rows = rows, .cols = cols};
  };
  embedding_ = weights.matrix({matrix("embed_tokens", shape.vocab, hidden)});
  for (int i = 0; i < shape.layers; ++i) {
    const std::string at = fmt::format("layers.{}.", i);
    Layer& layer = layers_.emplace_back();
    layer.attention_norm = weights.ones(at + "input_layernorm.weight", hidden);
    layer.qkv = weights.matrix({matrix(at + "self_attn.q_proj", shape.query_width(), hidden),
                                matrix(at + "self_attn.k_proj", shape.kv_width(), hidden),
                                matrix(at + "self_attn.v_proj", shape.kv_width(), hidden)});
    layer.output = weights.matrix({matrix(at + "self_attn.o_proj", hidden, shape.query_width())});
    layer.ffn_norm = weights.ones(at + "post_attention_layernorm.weight", hidden);
    layer.gate_up = weights.matrix(
        {matrix(at + "mlp.gate_proj", shape.ffn, hidden), matrix(at + "mlp.up_proj", shape.ffn, hidden)});
    layer.down = weights.matrix({matrix(at + "mlp.down_proj", hidden, shape.ffn)});
  }
  norm_ = weights.ones("norm.weight", hidden);
  if (!shape.tied_head) {
    head_ = weights.matrix({matrix("lm_head", shape.vocab, hidden)});
  }
}

Tensor Llama::run(kernels::Ops& ops, std::span<const std::int32_t> ids, const kernels::AttentionBatch& batch,
                  std::span<const std::int32_t> rows) {
  const ModelShape& s = shape();
  const auto epsilon = static_cast<float>(s.norm_epsilon);
  const auto scale = static_cast<float>(1 / std::sqrt(s.head_size));
  const auto tokens = static_cast<std::int32_t>(ids.size());
  Tensor x = ops.scratch(tokens, s.hidden);
  const Tensor qkv = ops.scratch(tokens, s.qkv_width());
  Tensor mixed = ops.scratch(tokens, s.query_width());
  const Tensor normed = ops.scratch(most_rows(ids, rows), s.hidden);
  const Tensor gate_up = ops.scratch(most_rows(ids, rows), 2 * s.ffn);
  const Tensor gated = ops.scratch(most_rows(ids, rows), s.ffn);
  ops.embedding(*embedding_, ids, x, false);
  for (int i = 0; i < s.layers; ++i) {
    const Layer& layer = layers_[static_cast<std::size_t>(i)];
    ops.rms_norm(x, *layer.attention_norm, epsilon, first_rows(normed, x.rows));
    ops.linear(first_rows(normed, x.rows), *layer.qkv, nullptr, Activation::none, false, qkv);
    ops.rotary(qkv, s.heads + s.kv_heads, s.head_size, batch.positions, {frequencies_});
    ops.write_kv(i, qkv, s.heads, batch);
    if (i + 1 == s.layers && ends_at_kv(rows, batch)) {
      return {};
    }
    ops.attention(i, qkv, s.heads, scale, batch, mixed);
    if (i + 1 == s.layers && rows.empty()) {
      return {};
    }
    if (i + 1 == s.layers) {  // from here on only the rows whose logits are wanted matter
      mixed = rows_of(ops, mixed, rows);
      x = rows_of(ops, x, rows);
    }
    ops.linear(mixed, *layer.output, nullptr, Activation::none, true, x);
    ops.rms_norm(x, *layer.ffn_norm, epsilon, first_rows(normed, x.rows));
    ops.linear(first_rows(normed, x.rows), *layer.gate_up, nullptr, Activation::none, false,
               first_rows(gate_up, x.rows));
    ops.silu_mul(first_rows(gate_up, x.rows), first_rows(gated, x.rows));
    ops.linear(first_rows(gated, x.rows), *layer.down, nullptr, Activation::none, true, x);
  }
  ops.rms_norm(x, *norm_, epsilon, x);
  const Tensor logits = ops.scratch(x.rows, s.vocab);
  ops.linear(x, head_ ? *head_ : *embedding_, nullptr, Activation::none, false, logits);
  return logits;
}

void read_rope(const ConfigReader& config, ModelShape& shape) {
  // Newer configs keep theta and scaling in rope_parameters, older ones beside each other.
  const bool together = config.has("rope_parameters");
  const char* const key = together ? "rope_parameters" : "rope_scaling";
  shape.rope_theta = (together ? config.object(key) : config).positive("rope_theta", 10000.0);
  if (!config.has(key)) {
    return;
  }
  const ConfigReader rope = config.object(key);
  static constexpr std::array<std::string_view, 2> kTypes = {"default", "llama3"};
  const bool old_name = !rope.has("rope_type") && rope.has("type");
  if (rope.choice(old_name ? "type" : "rope_type", kTypes, "default") == 0) {
    return;
  }
  RopeScaling& scaling = shape.rope_scaling.emplace();
  scaling.factor = rope.positive("factor");
  scaling.low_freq_factor = rope.positive("low_freq_factor");
  scaling.high_freq_factor = rope.positive("high_freq_factor");
  scaling.original_max_positions = rope.integer("original_max_position_embeddings", 1, kMostTokens);
  if (scaling.high_freq_factor <= scaling.low_freq_factor) {
    rope.fail("high_freq_factor", "must be above low_freq_factor");
  }
}

void read_config(const ConfigReader& config, ModelShape& shape) {
  shape.layers = config.integer("num_hidden_layers", 1, kMostLayers);
  shape.hidden = shape.embedding_size = config.integer("hidden_size", 1, kMostWidth);
  shape.heads = config.integer("num_attention_heads", 1, kMostHeads);
  shape.kv_heads = config.integer("num_key_value_heads", 1, shape.heads, shape.heads);
  if (shape.heads % shape.kv_heads != 0) {
    config.fail("num_key_value_heads",
                fmt::format("{} does not divide the {} heads", shape.kv_heads, shape.heads));
  }
  if (!config.has("head_dim") && shape.hidden % shape.heads != 0) {
    config.fail("num_attention_heads",
                fmt::format("{} does not divide hidden_size {}", shape.heads, shape.hidden));
  }
  shape.head_size = config.integer("head_dim", 2, kMostHeadSize, shape.hidden / shape.heads);
  shape.ffn = config.integer("intermediate_size", 1, kMostWidth);
  shape.vocab = config.integer("vocab_size", 1, kMostTokens);
  shape.max_positions = config.integer("max_position_embeddings", 1, kMostTokens, 2048);
  shape.norm_epsilon = config.positive("rms_norm_eps", 1e-6);
  shape.tied_head = config.boolean("tie_word_embeddings", false);
  shape.biases = false;
  read_rope(config, shape);
  config.require("hidden_act", "silu");
  config.require("attention_bias", false);
  config.require("mlp_bias", false);
  config.require("sliding_window", nullptr);
  config.require("quantization_config", nullptr);
  config.require("partial_rotary_factor", 1.0);
}

std::int64_t parameters(const ModelShape& s) {
  const std::int64_t hidden = s.hidden;
  const std::int64_t attention = hidden * s.qkv_width() + hidden * s.query_width();
  const std::int64_t layer = attention + 3 * hidden * s.ffn + 2 * hidden;
  return s.layers * layer + hidden + (s.tied_head ? 1 : 2) * s.vocab * hidden;
}

std::unique_ptr<Model> load(const ModelShape& shape, WeightLoader& weights) {
  return std::make_unique<Llama>(shape, weights);
}

constexpr std::array<std::string_view, 2> kPrefixes = {"model.", ""};
constexpr std::array<std::string_view, 1> kIgnored = {".rotary_emb.inv_freq"};

}  // namespace

const Family llama_family = {.name = "llama",
                             .prefixes = kPrefixes,
                             .ignored = kIgnored,
                             .landmark = "embed_tokens.weight",
                             .norm_vectors = 1,
                             .gated = true,
                             .rotary = true,
                             .position_padding = 0,
                             .read_config = read_config,
                             .parameters = parameters,
                             .load = load};

}  // namespace pagelab
