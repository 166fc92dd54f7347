// ModelShape: everything about a model but its weights. From a name of the built-in list or a Hugging Face
// config.json. A value; the forward passes (opt, llama, gpt2), the simulated devices and the listing read it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/ids.h"
#include "kernels/ops.h"

namespace pagelab {

struct Family;

/// LLaMA 3's stretching of the rotary frequencies (Llama 3.1 model card; "llama3" in Hugging Face configs).
struct RopeScaling {
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  std::int32_t original_max_positions = 8192;
};

struct ModelShape {
  const Family* family = nullptr;  ///< never null once made; see models/family.h
  std::string name;
  std::int32_t layers = 0;
  std::int32_t hidden = 0;
  std::int32_t heads = 0;
  std::int32_t kv_heads = 0;   ///< divides heads
  std::int32_t head_size = 0;  ///< heads * head_size need not be hidden
  std::int32_t ffn = 0;
  std::int32_t vocab = 0;
  std::int32_t max_positions = 0;   ///< longest sequence in tokens
  std::int32_t embedding_size = 0;  ///< of a token; unlike hidden in opt-350m only
  bool tied_head = true;            ///< the logits use the token embedding
  bool pre_norm = true;             ///< norm before attention and feed-forward; after them in opt-350m
  bool biases = true;               ///< of the linear layers
  double norm_epsilon = 1e-5;
  kernels::Activation activation = kernels::Activation::none;  ///< of the feed-forward; LLaMA's is SwiGLU
  double rope_theta = 10000;
  std::optional<RopeScaling> rope_scaling;

  /// Numbers in all weights, a tied head counted once.
  std::int64_t parameters() const;
  /// Bytes of all weights at one storage type.
  Bytes weight_bytes(kernels::DType dtype) const;
  /// K and V of one token over all layers.
  Bytes kv_bytes_per_token(kernels::DType dtype) const;
  std::int32_t query_width() const { return heads * head_size; }
  std::int32_t kv_width() const { return kv_heads * head_size; }
  /// Columns of the fused [q | k | v].
  std::int32_t qkv_width() const { return query_width() + 2 * kv_width(); }
};

/// The built-in shapes, family by family, small to large.
std::span<const ModelShape> builtin_shapes();
/// The built-in shape of that name, or null.
const ModelShape* find_shape(std::string_view name);

/// The shape that a config.json describes. Throws InputError naming file, key and what is valid if a key is
/// missing, ill-typed or asks for something that the forward pass does not have.
ModelShape read_shape(const std::filesystem::path& config);
/// The same from text; `path` names it in errors.
ModelShape parse_shape(std::string_view config, const std::string& path);

/// A built-in name, or a folder with a config.json. Throws InputError with the names that there are.
ModelShape resolve_shape(const std::string& model);

}  // namespace pagelab
