// Reading a model's config.json with errors that name the file, the key and what is valid. The readers borrow
// the document; they decide nothing about models.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace pagelab {

/// The largest values that a config may ask for: far above any model, and no product of them overflows.
inline constexpr std::int32_t kMostLayers = 4096;
inline constexpr std::int32_t kMostWidth = 1 << 20;
inline constexpr std::int32_t kMostHeads = 4096;
inline constexpr std::int32_t kMostHeadSize = 4096;
inline constexpr std::int32_t kMostTokens = 1 << 24;

/// The JSON object in a file of at most 100 MB. Throws InputError.
nlohmann::json read_json_object(const std::filesystem::path& path);
/// The same from text; `path` is for errors.
nlohmann::json parse_json_object(std::string_view text, const std::string& path);
/// A value for an error text: shortened JSON.
std::string printable(const nlohmann::json& value);

/// Typed access to the keys of one JSON object. A key that is null counts as absent. All throw InputError.
class ConfigReader {
 public:
  /// `where` is the file, or the file and the object within it.
  ConfigReader(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {}

  bool has(std::string_view key) const;
  /// A whole number from `least` to `most`; without a fallback the key must be there.
  std::int32_t integer(std::string_view key, std::int32_t least, std::int32_t most,
                       std::optional<std::int32_t> fallback = {}) const;
  /// A finite number above zero.
  double positive(std::string_view key, std::optional<double> fallback = {}) const;
  bool boolean(std::string_view key, bool fallback) const;
  /// One of `valid`; its index.
  std::size_t choice(std::string_view key, std::span<const std::string_view> valid,
                     std::optional<std::string_view> fallback = {}) const;
  ConfigReader object(std::string_view key) const;
  /// Refuses a feature that the forward pass does not have: the key must be absent, null or `value`.
  void require(std::string_view key, const nlohmann::json& value) const;

  [[noreturn]] void fail(std::string_view key, const std::string& what) const;

 private:
  const nlohmann::json* find(std::string_view key) const;

  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace pagelab
