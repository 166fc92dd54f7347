#include "models/shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"
#include "core/parameters.h"
#include "models/config.h"
#include "models/family.h"
#include "models/gpt2.h"
#include "models/llama.h"
#include "models/opt.h"

namespace pagelab {
namespace {

ModelShape opt(const char* name, int layers, int hidden, int heads) {
  ModelShape shape;
  shape.family = &opt_family;
  shape.name = name;
  shape.layers = layers;
  shape.hidden = shape.embedding_size = hidden;
  shape.heads = shape.kv_heads = heads;
  shape.head_size = hidden / heads;
  shape.ffn = 4 * hidden;
  shape.vocab = 50272;
  shape.max_positions = 2048;
  shape.activation = kernels::Activation::relu;
  return shape;
}

ModelShape opt_350m() {
  ModelShape shape = opt("opt-350m", 24, 1024, 16);
  shape.embedding_size = 512;
  shape.pre_norm = false;
  return shape;
}

ModelShape gpt2(const char* name, int layers, int hidden, int heads) {
  ModelShape shape = opt(name, layers, hidden, heads);
  shape.family = &gpt2_family;
  shape.vocab = 50257;
  shape.max_positions = 1024;
  shape.activation = kernels::Activation::gelu_tanh;
  return shape;
}

ModelShape llama(const char* name, int layers, int hidden, int heads, int kv_heads, int ffn) {
  ModelShape shape;
  shape.family = &llama_family;
  shape.name = name;
  shape.layers = layers;
  shape.hidden = shape.embedding_size = hidden;
  shape.heads = heads;
  shape.kv_heads = kv_heads;
  shape.head_size = hidden / heads;
  shape.ffn = ffn;
  shape.vocab = 32000;
  shape.max_positions = 2048;
  shape.tied_head = false;
  shape.biases = false;
  return shape;
}

ModelShape llama1(const char* name, int layers, int hidden, int heads, int ffn) {
  ModelShape shape = llama(name, layers, hidden, heads, heads, ffn);
  shape.norm_epsilon = 1e-6;
  return shape;
}

ModelShape llama2(const char* name, int layers, int hidden, int heads, int kv_heads, int ffn) {
  ModelShape shape = llama(name, layers, hidden, heads, kv_heads, ffn);
  shape.max_positions = 4096;
  return shape;
}

ModelShape llama3(const char* name, int layers, int hidden, int heads, int ffn) {
  ModelShape shape = llama(name, layers, hidden, heads, 8, ffn);
  shape.vocab = 128256;
  shape.max_positions = 8192;
  shape.rope_theta = 500000;
  return shape;
}

ModelShape llama31_8b() {
  ModelShape shape = llama3("llama-3.1-8b", 32, 4096, 32, 14336);
  shape.max_positions = 131072;
  return shape;
}

ModelShape llama_110m() {
  ModelShape shape = llama("llama-110m", 12, 768, 12, 12, 2048);
  shape.tied_head = true;
  return shape;
}

}  // namespace

std::span<const ModelShape> builtin_shapes() {
  // Sources: OPT (Zhang et al., 2022, table 1) and its released configs, GPT-2's released configs, LLaMA
  // (Touvron et al., 2023, table 2), Llama 2 and 3 released configs, TinyLlama (Zhang et al., 2024, table 1).
  // llama-110m is the shape of llama2.c's stories110M.
  static const std::vector<ModelShape> shapes = {
      opt("opt-125m", 12, 768, 12),
      opt_350m(),
      opt("opt-1.3b", 24, 2048, 32),
      opt("opt-2.7b", 32, 2560, 32),
      opt("opt-6.7b", 32, 4096, 32),
      opt("opt-13b", 40, 5120, 40),
      opt("opt-30b", 48, 7168, 56),
      opt("opt-66b", 64, 9216, 72),
      opt("opt-175b", 96, 12288, 96),
      gpt2("gpt2", 12, 768, 12),
      gpt2("gpt2-medium", 24, 1024, 16),
      gpt2("gpt2-large", 36, 1280, 20),
      gpt2("gpt2-xl", 48, 1600, 25),
      llama_110m(),
      llama("tinyllama-1.1b", 22, 2048, 32, 4, 5632),
      llama1("llama-7b", 32, 4096, 32, 11008),
      llama1("llama-13b", 40, 5120, 40, 13824),
      llama1("llama-30b", 60, 6656, 52, 17920),
      llama1("llama-65b", 80, 8192, 64, 22016),
      llama2("llama-2-7b", 32, 4096, 32, 32, 11008),
      llama2("llama-2-13b", 40, 5120, 40, 40, 13824),
      llama2("llama-2-70b", 80, 8192, 64, 8, 28672),
      llama3("llama-3-8b", 32, 4096, 32, 14336),
      llama3("llama-3-70b", 80, 8192, 64, 28672),
      llama31_8b(),
  };
  return shapes;
}

const ModelShape* find_shape(std::string_view name) {
  const auto shapes = builtin_shapes();
  const auto found =
      std::find_if(shapes.begin(), shapes.end(), [&](const ModelShape& s) { return s.name == name; });
  return found == shapes.end() ? nullptr : &*found;
}

std::int64_t ModelShape::parameters() const {
  return family->parameters(*this);
}

Bytes ModelShape::weight_bytes(kernels::DType dtype) const {
  return Bytes(parameters() * static_cast<std::int64_t>(kernels::size_of(dtype)));
}

Bytes ModelShape::kv_bytes_per_token(kernels::DType dtype) const {
  return Bytes(std::int64_t{2} * layers * kv_width() * static_cast<std::int64_t>(kernels::size_of(dtype)));
}

std::span<const Family* const> families() {
  static constexpr const Family* table[] = {&opt_family, &llama_family, &gpt2_family};
  return table;
}

namespace {

ModelShape shape_of(const nlohmann::json& document, const std::string& path) {
  const ConfigReader reader(document, path);
  std::vector<std::string_view> types;
  for (const Family* family : families()) {
    types.push_back(family->name);
  }
  ModelShape shape;
  shape.family = families()[reader.choice("model_type", types)];
  shape.family->read_config(reader, shape);
  return shape;
}

}  // namespace

ModelShape parse_shape(std::string_view config, const std::string& path) {
  return shape_of(parse_json_object(config, path), path);
}

ModelShape read_shape(const std::filesystem::path& config) {
  ModelShape shape = shape_of(read_json_object(config), config.string());
  shape.name = std::filesystem::absolute(config).lexically_normal().parent_path().filename().string();
  return shape;
}

ModelShape resolve_shape(const std::string& model) {
  if (const ModelShape* shape = find_shape(model)) {
    return *shape;
  }
  const std::filesystem::path folder(model);
  if (std::filesystem::is_directory(folder)) {
    return read_shape(folder / "config.json");
  }
  std::vector<std::string> names;
  for (const ModelShape& shape : builtin_shapes()) {
    names.push_back(shape.name);
  }
  const auto nearest = nearest_name(model, names);
  throw InputError(fmt::format("model '{}' is neither a folder nor one of the built-in shapes{}: {}", model,
                               nearest ? fmt::format(" (did you mean {}?)", *nearest) : "",
                               fmt::join(names, ", ")));
}

}  // namespace pagelab
