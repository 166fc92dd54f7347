#include "models/opt.h"

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

/// The position table begins with rows for padding that no token uses.
constexpr std::int32_t kPositionOffset = 2;

class Opt final : public Model {
 public:
  Opt(const ModelShape& shape, WeightLoader& weights);

 private:
  struct Norm {
    std::unique_ptr<Weight> gamma, beta;
  };
  struct Linear {
    std::unique_ptr<Weight> weight, bias;  // bias: null if the model has none
  };
  struct Layer {
    Norm attention_norm, ffn_norm;
    Linear qkv, output, up, down;
  };

  static Norm load_norm(const std::string& name, std::int64_t size, WeightLoader& weights);
  Linear load_linear(const std::string& name, std::int64_t rows, std::int64_t cols,
                     WeightLoader& weights) const;
  Linear load_qkv(const std::string& at, WeightLoader& weights) const;
  void norm(kernels::Ops& ops, Tensor x, const Norm& norm, Tensor out) const;
  Tensor embed(kernels::Ops& ops, std::span<const std::int32_t> ids,
               std::span<const std::int32_t> positions) const;
  void feed_forward(kernels::Ops& ops, const Layer& layer, Tensor x, Tensor normed, Tensor wide) const;
  Tensor logits(kernels::Ops& ops, Tensor x) const;
  Tensor run(kernels::Ops& ops, std::span<const std::int32_t> ids, const kernels::AttentionBatch& batch,
             std::span<const std::int32_t> rows) override;

  std::unique_ptr<Weight> tokens_, positions_;
  std::unique_ptr<Weight> project_in_, project_out_;  // null if embeddings are as wide as the layers
  std::vector<Layer> layers_;
  Norm final_norm_;  // null if post-norm
};

Opt::Norm Opt::load_norm(const std::string& name, std::int64_t size, WeightLoader& weights) {
  return {weights.ones(name + ".weight", size), weights.zeros(name + ".bias", size)};
}

Opt::Linear Opt::load_linear(const std::string& name, std::int64_t rows, std::int64_t cols,
                             WeightLoader& weights) const {
  return {weights.matrix({{.name = name + ".weight", .rows = rows, .cols = cols}}),
          shape().biases ? weights.zeros(name + ".bias", rows) : nullptr};
}

Opt::Linear Opt::load_qkv(const std::string& at, WeightLoader& weights) const {
  const std::int64_t hidden = shape().hidden;
  const auto matrix = [&](const char* part) {
    return TensorSpec{.name = fmt::format("{}{}_proj.weight", at, part), .rows = hidden, .cols = hidden};
  };
  const auto bias = [&](const char* part) {
    return TensorSpec{.name = fmt::format("{}{}_proj.bias", at, part), .cols = hidden, .deviation = 0.0f};
  };
  return {weights.matrix({matrix("q"), matrix("k"), matrix("v")}),
          shape().biases ? weights.vector({bias("q"), bias("k"), bias("v")}) : nullptr};
}

Opt::Opt(const ModelShape& shape, WeightLoader& weights) : Model(shape) {
  const std::int64_t hidden = shape.hidden;
  const std::int64_t narrow = shape.embedding_size;
  tokens_ = weights.matrix({{.name = "embed_tokens.weight", .rows = shape.vocab, .cols = narrow}});
  positions_ = weights.matrix(
      {{.name = "embed_positions.weight", .rows = shape.max_positions + kPositionOffset, .cols = hidden}},
      kPositionOffset);
  if (narrow != hidden) {
    project_in_ = weights.matrix({{.name = "project_in.weight", .rows = hidden, .cols = narrow}});
    project_out_ = weights.matrix({{.name = "project_out.weight", .rows = narrow, .cols = hidden}});
  }
  for (int i = 0; i < shape.layers; ++i) {
    const std::string at = fmt::format("layers.{}.", i);
    Layer& layer = layers_.emplace_back();
    layer.attention_norm = load_norm(at + "self_attn_layer_norm", hidden, weights);
    layer.qkv = load_qkv(at + "self_attn.", weights);
    layer.output = load_linear(at + "self_attn.out_proj", hidden, hidden, weights);
    layer.ffn_norm = load_norm(at + "final_layer_norm", hidden, weights);
    layer.up = load_linear(at + "fc1", shape.ffn, hidden, weights);
    layer.down = load_linear(at + "fc2", hidden, shape.ffn, weights);
  }
  if (shape.pre_norm) {
    final_norm_ = load_norm("final_layer_norm", hidden, weights);
  }
}

void Opt::norm(kernels::Ops& ops, Tensor x, const Norm& norm, Tensor out) const {
  ops.layer_norm(x, *norm.gamma, *norm.beta, static_cast<float>(shape().norm_epsilon), out);
}

Tensor Opt::embed(kernels::Ops& ops, std::span<const std::int32_t> ids,
                  std::span<const std::int32_t> positions) const {
  const Tensor x = ops.scratch(static_cast<std::int32_t>(ids.size()), shape().hidden);
  if (project_in_) {
    const Tensor narrow = ops.scratch(x.rows, shape().embedding_size);
    ops.embedding(*tokens_, ids, narrow, false);
    ops.linear(narrow, *project_in_, nullptr, Activation::none, false, x);
  } else {
    ops.embedding(*tokens_, ids, x, false);
  }
  ops.embedding(*positions_, positions, x, true);
  return x;
}

void Opt::feed_forward(kernels::Ops& ops, const Layer& layer, Tensor x, Tensor normed, Tensor wide) const {
  if (shape().pre_norm) {
    norm(ops, x, layer.ffn_norm, normed);
  }
  ops.linear(shape().pre_norm ? normed : x, *layer.up.weight, layer.up.bias.get(), shape().activation, false,
             wide);
  ops.linear(wide, *layer.down.weight, layer.down.bias.get(), Activation::none, true, x);
  if (!shape().pre_norm) {
    norm(ops, x, layer.ffn_norm, x);
  }
}

Tensor Opt::logits(kernels::Ops& ops, Tensor x) const {
  if (shape().pre_norm) {
    norm(ops, x, final_norm_, x);
  }
  if (project_out_) {
    const Tensor narrow = ops.scratch(x.rows, shape().embedding_size);
    ops.linear(x, *project_out_, nullptr, Activation::none, false, narrow);
    x = narrow;
  }
  const Tensor out = ops.scratch(x.rows, shape().vocab);
  ops.linear(x, *tokens_, nullptr, Activation::none, false, out);
  return out;
}

Tensor Opt::run(kernels::Ops& ops, std::span<const std::int32_t> ids, const kernels::AttentionBatch& batch,
                std::span<const std::int32_t> rows) {
  const ModelShape& s = shape();
  const auto scale = static_cast<float>(1 / std::sqrt(s.head_size));
  const auto tokens = static_cast<std::int32_t>(ids.size());
  Tensor x = embed(ops, ids, batch.positions);
  const Tensor qkv = ops.scratch(tokens, s.qkv_width());
  Tensor mixed = ops.scratch(tokens, s.hidden);
  const Tensor normed = ops.scratch(most_rows(ids, rows), s.hidden);
  const Tensor wide = ops.scratch(most_rows(ids, rows), s.ffn);
  for (int i = 0; i < s.layers; ++i) {
    const Layer& layer = layers_[static_cast<std::size_t>(i)];
    if (s.pre_norm) {
      norm(ops, x, layer.attention_norm, first_rows(normed, x.rows));
    }
    const Tensor input = s.pre_norm ? first_rows(normed, x.rows) : x;
    ops.linear(input, *layer.qkv.weight, layer.qkv.bias.get(), Activation::none, false, qkv);
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
    if (!s.pre_norm) {
      norm(ops, x, layer.attention_norm, x);
    }
    feed_forward(ops, layer, x, first_rows(normed, x.rows), first_rows(wide, x.rows));
  }
  return logits(ops, x);
}

void read_config(const ConfigReader& config, ModelShape& shape) {
  static constexpr std::array<std::string_view, 3> kActivations = {"relu", "gelu", "gelu_new"};
  static constexpr std::array kOps = {Activation::relu, Activation::gelu, Activation::gelu_tanh};
  shape.layers = config.integer("num_hidden_layers", 1, kMostLayers);
  shape.hidden = config.integer("hidden_size", 1, kMostWidth);
  shape.embedding_size = config.integer("word_embed_proj_dim", 1, kMostWidth, shape.hidden);
  shape.heads = shape.kv_heads = config.integer("num_attention_heads", 1, kMostHeads);
  if (shape.hidden % shape.heads != 0) {
    config.fail("num_attention_heads",
                fmt::format("{} does not divide hidden_size {}", shape.heads, shape.hidden));
  }
  shape.head_size = shape.hidden / shape.heads;
  shape.ffn = config.integer("ffn_dim", 1, kMostWidth);
  shape.vocab = config.integer("vocab_size", 1, kMostTokens);
  shape.max_positions = config.integer("max_position_embeddings", 1, kMostTokens);
  shape.activation = kOps[config.choice("activation_function", kActivations, "relu")];
  shape.pre_norm = config.boolean("do_layer_norm_before", true);
  shape.biases = config.boolean("enable_bias", true);
  shape.tied_head = true;
  config.require("tie_word_embeddings", true);
  config.require("layer_norm_elementwise_affine", true);
  config.require("_remove_final_layer_norm", false);
  config.require("quantization_config", nullptr);
}

std::int64_t parameters(const ModelShape& s) {
  const std::int64_t hidden = s.hidden;
  const std::int64_t norm = 2 * hidden;
  const std::int64_t biases = s.biases ? 5 * hidden + s.ffn : 0;
  const std::int64_t layer = 4 * hidden * hidden + 2 * hidden * s.ffn + biases + 2 * norm;
  const std::int64_t projections = s.embedding_size == s.hidden ? 0 : 2 * hidden * s.embedding_size;
  return std::int64_t{s.vocab} * s.embedding_size + (s.max_positions + kPositionOffset) * hidden +
         projections + s.layers * layer + (s.pre_norm ? norm : 0);
}

std::unique_ptr<Model> load(const ModelShape& shape, WeightLoader& weights) {
  return std::make_unique<Opt>(shape, weights);
}

constexpr std::array<std::string_view, 3> kPrefixes = {"model.decoder.", "decoder.", ""};

}  // namespace

const Family opt_family = {.name = "opt",
                           .prefixes = kPrefixes,
                           .ignored = {},
                           .landmark = "embed_tokens.weight",
                           .norm_vectors = 2,
                           .gated = false,
                           .rotary = false,
                           .position_padding = kPositionOffset,
                           .read_config = read_config,
                           .parameters = parameters,
                           .load = load};

}  // namespace pagelab
