#include "models/gpt2.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "models/config.h"
#include "models/model.h"
#include "models/weights.h"

namespace pagelab {
namespace {

using kernels::Activation;
using kernels::Tensor;
using kernels::Weight;

class Gpt2 final : public Model {
 public:
  Gpt2(const ModelShape& shape, WeightLoader& weights);

 private:
  struct Norm {
    std::unique_ptr<Weight> gamma, beta;
  };
  struct Linear {
    std::unique_ptr<Weight> weight, bias;
  };
  struct Layer {
    Norm attention_norm, ffn_norm;
    Linear qkv, output, up, down;
  };

  void norm(kernels::Ops& ops, Tensor x, const Norm& norm, Tensor out) const;
  Tensor run(kernels::Ops& ops, std::span<const std::int32_t> ids, const kernels::AttentionBatch& batch,
             std::span<const std::int32_t> rows) override;

  std::unique_ptr<Weight> tokens_, positions_;
  std::vector<Layer> layers_;
  Norm final_norm_;
};

Gpt2::Gpt2(const ModelShape& shape, WeightLoader& weights) : Model(shape) {
  const std::int64_t hidden = shape.hidden;
  // Matrices that add to the residual start smaller, by the number of additions (GPT-2, section 2.3).
  const auto residual_deviation = static_cast<float>(0.02 / std::sqrt(2.0 * shape.layers));
  const auto load_norm = [&](const std::string& name) {
    return Norm{weights.ones(name + ".weight", hidden), weights.zeros(name + ".bias", hidden)};
  };
  const auto load_linear = [&](const std::string& name, std::int64_t rows, std::int64_t cols,
                               float deviation) {
    return Linear{weights.matrix({{.name = name + ".weight",
                                   .rows = rows,
                                   .cols = cols,
                                   .deviation = deviation,
                                   .transposed = true}}),
                  weights.zeros(name + ".bias", rows)};
  };
  tokens_ = weights.matrix({{.name = "wte.weight", .rows = shape.vocab, .cols = hidden}});
  positions_ = weights.matrix({{.name = "wpe.weight", .rows = shape.max_positions, .cols = hidden}});
  for (int i = 0; i < shape.layers; ++i) {
    const std::string at = fmt::format("h.{}.", i);
    Layer& layer = layers_.emplace_back();
    layer.attention_norm = load_norm(at + "ln_1");
    layer.qkv = load_linear(at + "attn.c_attn", 3 * hidden, hidden, 0.02f);
    layer.output = load_linear(at + "attn.c_proj", hidden, hidden, residual_deviation);
    layer.ffn_norm = load_norm(at + "ln_2");
    layer.up = load_linear(at + "mlp.c_fc", shape.ffn, hidden, 0.02f);
    layer.down = load_linear(at + "mlp.c_proj", hidden, shape.ffn, residual_deviation);
  }
  final_norm_ = load_norm("ln_f");
}

void Gpt2::norm(kernels::Ops& ops, Tensor x, const Norm& norm, Tensor out) const {
  ops.layer_norm(x, *norm.gamma, *norm.beta, static_cast<float>(shape().norm_epsilon), out);
}

Tensor Gpt2::run(kernels::Ops& ops, std::span<const std::int32_t> ids, const kernels::AttentionBatch& batch,
                 std::span<const std::int32_t> rows) {
  const ModelShape& s = shape();
  const auto scale = static_cast<float>(1 / std::sqrt(s.head_size));
  const auto tokens = static_cast<std::int32_t>(ids.size());
  Tensor x = ops.scratch(tokens, s.hidden);
  const Tensor qkv = ops.scratch(tokens, s.qkv_width());
  Tensor mixed = ops.scratch(tokens, s.hidden);
  const Tensor normed = ops.scratch(most_rows(ids, rows), s.hidden);
  const Tensor wide = ops.scratch(most_rows(ids, rows), s.ffn);
  ops.embedding(*tokens_, ids, x, false);
  ops.embedding(*positions_, batch.positions, x, true);
  for (int i = 0; i < s.layers; ++i) {
    const Layer& layer = layers_[static_cast<std::size_t>(i)];
    norm(ops, x, layer.attention_norm, first_rows(normed, x.rows));
    ops.linear(first_rows(normed, x.rows), *layer.qkv.weight, layer.qkv.bias.get(), Activation::none, false,
               qkv);
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
    ops.linear(mixed, *layer.output.weight, layer.output.bias.get(), Activation::none, true, x);
    norm(ops, x, layer.ffn_norm, first_rows(normed, x.rows));
    ops.linear(first_rows(normed, x.rows), *layer.up.weight, layer.up.bias.get(), s.activation, false,
               first_rows(wide, x.rows));
    ops.linear(first_rows(wide, x.rows), *layer.down.weight, layer.down.bias.get(), Activation::none, true,
               x);
  }
  norm(ops, x, final_norm_, x);
  const Tensor logits = ops.scratch(x.rows, s.vocab);
  ops.linear(x, *tokens_, nullptr, Activation::none, false, logits);
  return logits;
}

void read_config(const ConfigReader& config, ModelShape& shape) {
  static constexpr std::array<std::string_view, 4> kActivations = {"gelu_new", "gelu_pytorch_tanh", "gelu",
                                                                   "relu"};
  static constexpr std::array kOps = {Activation::gelu_tanh, Activation::gelu_tanh, Activation::gelu,
                                      Activation::relu};
  shape.layers = config.integer("n_layer", 1, kMostLayers);
  shape.hidden = shape.embedding_size = config.integer("n_embd", 1, kMostWidth);
  shape.heads = shape.kv_heads = config.integer("n_head", 1, kMostHeads);
  if (shape.hidden % shape.heads != 0) {
    config.fail("n_head", fmt::format("{} does not divide n_embd {}", shape.heads, shape.hidden));
  }
  shape.head_size = shape.hidden / shape.heads;
  shape.ffn = config.integer("n_inner", 1, kMostWidth, 4 * shape.hidden);
  shape.vocab = config.integer("vocab_size", 1, kMostTokens);
  shape.max_positions = config.integer("n_positions", 1, kMostTokens);
  shape.norm_epsilon = config.positive("layer_norm_epsilon", 1e-5);
  shape.activation = kOps[config.choice("activation_function", kActivations, "gelu_new")];
  config.require("tie_word_embeddings", true);
  config.require("scale_attn_weights", true);
  config.require("scale_attn_by_inverse_layer_idx", false);
  config.require("add_cross_attention", false);
  config.require("quantization_config", nullptr);
}

std::int64_t parameters(const ModelShape& s) {
  const std::int64_t hidden = s.hidden;
  const std::int64_t norm = 2 * hidden;
  const std::int64_t layer = 4 * hidden * hidden + 2 * hidden * s.ffn + 5 * hidden + s.ffn + 2 * norm;
  return (std::int64_t{s.vocab} + s.max_positions) * hidden + s.layers * layer + norm;
}

std::unique_ptr<Model> load(const ModelShape& shape, WeightLoader& weights) {
  return std::make_unique<Gpt2>(shape, weights);
}

constexpr std::array<std::string_view, 2> kPrefixes = {"transformer.", ""};
constexpr std::array<std::string_view, 2> kIgnored = {".attn.bias", ".attn.masked_bias"};  // causal masks

}  // namespace

const Family gpt2_family = {.name = "gpt2",
                            .prefixes = kPrefixes,
                            .ignored = kIgnored,
                            .landmark = "wte.weight",
                            .norm_vectors = 2,
                            .gated = false,
                            .rotary = false,
                            .position_padding = 0,
                            .read_config = read_config,
                            .parameters = parameters,
                            .load = load};

}  // namespace pagelab
