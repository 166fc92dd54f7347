// Family: a kind of transformer (OPT, LLaMA, GPT-2). One table lists them; adding one is its own pair of
// files and a line of that table. Entries are constants that live as long as the program.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "models/shape.h"

namespace pagelab {

class ConfigReader;
class Model;
class WeightLoader;

struct Family {
  std::string_view name;  ///< model_type in config.json
  /// What checkpoints put before the family's tensor names, each to be tried.
  std::span<const std::string_view> prefixes;
  /// Ends of the names of tensors that are in some checkpoints and carry no weights.
  std::span<const std::string_view> ignored;
  /// A tensor that every checkpoint has; tells the prefix.
  std::string_view landmark;
  std::int32_t norm_vectors;      ///< weights of a norm, as vectors: scale and shift, or scale alone
  bool gated;                     ///< the feed-forward's first product is twice as wide: a gate beside it
  bool rotary;                    ///< positions rotate queries and keys; else a table of them is added
  std::int32_t position_padding;  ///< rows of that table before the first position's
  void (*read_config)(const ConfigReader& config, ModelShape& shape);
  std::int64_t (*parameters)(const ModelShape& shape);
  std::unique_ptr<Model> (*load)(const ModelShape& shape, WeightLoader& weights);
};

std::span<const Family* const> families();

}  // namespace pagelab
