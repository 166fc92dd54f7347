#include "models/checkpoint.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "models/config.h"

namespace pagelab {
namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

/// The index's weight_map: tensor name -> file name within the folder.
std::map<std::string, std::string> read_index(const std::filesystem::path& path) {
  const nlohmann::json index = read_json_object(path);
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object() || map->empty()) {
    throw InputError(fmt::format(
        "{}: weight_map (tensor name -> file name) is missing, empty or not an object", path.string()));
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : map->items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : std::string();
    if (name.empty() || name == "." || name == ".." ||
        name.find_first_of(std::string("/\\\0", 3)) != std::string::npos) {
      throw InputError(fmt::format("{}: weight_map: '{}': not the name of a file in the same folder: {}",
                                   path.string(), tensor, printable(file)));
    }
    files.emplace(tensor, name);
  }
  return files;
}

}  // namespace

Checkpoint::Checkpoint(const std::filesystem::path& folder) : folder_(folder) {
  if (std::filesystem::exists(folder / kSingle)) {
    files_.emplace_back(folder / kSingle);
    add(files_.back());
  } else if (std::filesystem::exists(folder / kIndex)) {
    open_shards(folder / kIndex);
  } else {
    throw InputError(fmt::format("{}: holds neither {} nor {}", folder.string(), kSingle, kIndex));
  }
}

void Checkpoint::open_shards(const std::filesystem::path& index) {
  const auto map = read_index(index);
  std::set<std::string> names;
  for (const auto& [tensor, file] : map) {
    names.insert(file);
  }
  files_.reserve(names.size());  // entries point into the files
  for (const std::string& name : names) {
    if (!std::filesystem::exists(folder_ / name)) {
      throw InputError(fmt::format("{}: names the shard {}, which is missing", index.string(), name));
    }
    add(files_.emplace_back(folder_ / name));
  }
  for (const auto& [name, tensor] : tensors_) {
    const auto listed = map.find(name);
    if (listed == map.end() || listed->second != tensor.file->path().filename().string()) {
      throw InputError(fmt::format("{}: tensor '{}' is in {}, which the index does not say", index.string(),
                                   name, tensor.file->path().filename().string()));
    }
  }
  for (const auto& [name, file] : map) {
    if (!tensors_.contains(name)) {
      throw InputError(
          fmt::format("{}: tensor '{}' is not in {}, where it should be", index.string(), name, file));
    }
  }
}

void Checkpoint::add(const SafetensorsFile& file) {
  for (const SafetensorsEntry& entry : file.entries()) {
    const auto [place, added] = tensors_.emplace(entry.name, Tensor{&file, &entry});
    if (!added) {
      throw InputError(fmt::format("{}: tensor '{}' is also in {}", file.path().string(), entry.name,
                                   place->second.file->path().string()));
    }
  }
}

}  // namespace pagelab
