// The weights of a Hugging Face model folder: model.safetensors, or the shards that
// model.safetensors.index.json names. Owns the open files. Knows names, shapes and bytes; what a tensor means
// is the model family's business.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "models/safetensors.h"

namespace pagelab {

class Checkpoint {
 public:
  struct Tensor {
    const SafetensorsFile* file;
    const SafetensorsEntry* entry;
  };

  /// Throws InputError if there are no weights in the folder, a shard is missing, invalid or outside the
  /// folder, or the index and the shards disagree.
  explicit Checkpoint(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const { return folder_; }
  const std::map<std::string, Tensor, std::less<>>& tensors() const { return tensors_; }

 private:
  void open_shards(const std::filesystem::path& index);
  void add(const SafetensorsFile& file);

  std::filesystem::path folder_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, Tensor, std::less<>> tensors_;
};

}  // namespace pagelab
