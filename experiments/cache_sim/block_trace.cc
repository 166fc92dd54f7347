#include "experiments/cache_sim/block_trace.h"

#include <charconv>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>

#include <fmt/format.h>

#include "core/error.h"
#include "experiments/trace.h"
#include "experiments/trace_bytes.h"
#include "experiments/trace_lines.h"

namespace pagelab {
namespace {

/// Numbers contents densely while a trace is read.
class Numbering {
 public:
  explicit Numbering(BlockTrace& trace) : trace_(trace) {}
  void add(std::uint64_t id) {
    const auto [place, is_new] = numbers_.try_emplace(id, static_cast<std::uint32_t>(trace_.distinct));
    trace_.distinct += is_new ? 1 : 0;
    trace_.contents.push_back(place->second);
  }

 private:
  BlockTrace& trace_;
  std::unordered_map<std::uint64_t, std::uint32_t> numbers_;
};

BlockTrace read_binary(const std::filesystem::path& file) {
  TraceBytes bytes(file);
  std::string text;
  const char* error = nullptr;
  while (bytes.read(text, error)) {
  }
  if (error != nullptr) {
    throw InputError(fmt::format("{}: {}", file.string(), error));
  }
  if (text.size() % sizeof(std::uint32_t) != 0) {
    throw InputError(
        fmt::format("{}: {} bytes; a trace of uint32 ids has 4 for each", file.string(), text.size()));
  }
  BlockTrace trace;
  trace.contents.reserve(text.size() / sizeof(std::uint32_t));
  Numbering numbering(trace);
  for (std::size_t at = 0; at < text.size(); at += sizeof(std::uint32_t)) {
    std::uint64_t id = 0;
    for (std::size_t byte = 0; byte < sizeof(std::uint32_t); ++byte) {
      id |= std::uint64_t{static_cast<std::uint8_t>(text[at + byte])} << (8 * byte);
    }
    numbering.add(id);
  }
  return trace;
}

BlockTrace read_text(const std::filesystem::path& file) {
  LineReader lines(file);
  BlockTrace trace;
  Numbering numbering(trace);
  std::string line;
  while (lines.next(line)) {
    if (line.empty()) {
      continue;
    }
    std::uint64_t id = 0;
    const char* end = line.data() + line.size();
    const auto [parsed, error] = std::from_chars(line.data(), end, id);
    if (error != std::errc() || parsed != end) {
      throw InputError(fmt::format(
          "{}: '{}' is not a block id; a text has one whole number from 0 to {} a line (other formats: .u32, "
          ".jsonl, each with or without .xz)",
          lines.place(), std::string_view(line).substr(0, 40), std::numeric_limits<std::uint64_t>::max()));
    }
    numbering.add(id);
  }
  return trace;
}

/// The block sizes that fit every prompt seen so far.
class IdSizes {
 public:
  explicit IdSizes(Tokens given)
      : sizes_(given > Tokens(0) ? std::vector{given.value()} : std::vector<std::int64_t>{16, 512}) {}

  void check(const TraceRow& row, const TraceReader& reader) {
    const auto ids = static_cast<std::int64_t>(row.blocks.size());
    std::string tried;
    for (const std::int64_t size : sizes_) {
      tried += fmt::format("{}{}", tried.empty() ? "" : " or ", size);
    }
    std::erase_if(sizes_, [&](std::int64_t size) {
      return ids != row.prompt.value() / size && ids != blocks_for(row.prompt, Tokens(size)).value();
    });
    if (sizes_.empty()) {
      throw InputError(
          fmt::format("{}: {} hash_ids do not fit an input_length of {} at {} tokens a block; --block-tokens "
                      "sets the tokens that an id stands for",
                      reader.place(), ids, row.prompt.value(), tried));
    }
  }
  Tokens largest() const { return Tokens(sizes_.back()); }

 private:
  std::vector<std::int64_t> sizes_;
};

BlockTrace read_prompts(const std::filesystem::path& file, Tokens block_tokens) {
  TraceReader reader({.file = file.string(), .format = "mooncake"});
  BlockTrace trace;
  IdSizes sizes(block_tokens);
  Numbering numbering(trace);
  std::vector<std::pair<Tokens, std::vector<std::uint64_t>>> prompts;
  for (TraceRow row; reader.next(row);) {
    if (row.blocks.empty()) {
      throw InputError(fmt::format("{}: no hash_ids; valid: the ids of the prompt's blocks", reader.place()));
    }
    sizes.check(row, reader);
    prompts.emplace_back(row.prompt, row.blocks);
  }
  trace.block_tokens = sizes.largest();
  for (const auto& [tokens, ids] : prompts) {
    const auto full = static_cast<std::size_t>(tokens / trace.block_tokens);
    for (std::size_t i = 0; i < full; ++i) {
      numbering.add(ids[i]);
    }
    trace.prompt_tokens += tokens;
    trace.prompt_ends.push_back(static_cast<std::int64_t>(trace.contents.size()));
  }
  return trace;
}

}  // namespace

BlockTrace read_block_trace(const std::filesystem::path& file, Tokens block_tokens) {
  const std::filesystem::path name = file.extension() == ".xz" ? file.stem() : file.filename();
  BlockTrace trace = name.extension() == ".u32"     ? read_binary(file)
                     : name.extension() == ".jsonl" ? read_prompts(file, block_tokens)
                                                    : read_text(file);
  if (trace.contents.empty()) {
    throw InputError(fmt::format("{}: no reference of a block in it", file.string()));
  }
  if (trace.distinct > std::numeric_limits<std::int32_t>::max()) {
    throw InputError(fmt::format("{}: {} different blocks; valid: up to {}", file.string(), trace.distinct,
                                 std::numeric_limits<std::int32_t>::max()));
  }
  return trace;
}

}  // namespace pagelab
