// BlockTrace: which block contents were referenced, in which order, read from a file into flat arrays.
// Contents are numbered densely in order of their first reference. It knows nothing of caches.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "core/ids.h"

namespace pagelab {

struct BlockTrace {
  std::vector<std::uint32_t> contents;  ///< one per reference
  std::int64_t distinct = 0;            ///< contents are 0 .. distinct - 1

  /// Of a trace of prompts: where the references of each prompt end. Those of one prompt are a chain: a block
  /// serves it only together with all blocks before. Empty: each reference stands for itself.
  std::vector<std::int64_t> prompt_ends;
  Tokens block_tokens;   ///< of a trace of prompts
  Tokens prompt_tokens;  ///< of all prompts, those in no full block included

  bool has_prompts() const { return !prompt_ends.empty(); }
};

/// Reads a trace, by the end of its name, with or without .xz behind it:
///   .u32    little-endian uint32 block ids
///   .jsonl  JSON lines with input_length, output_length and hash_ids, the chained ids of the prompt's blocks
///           (Mooncake). A last id may stand for a block that the prompt fills in part; such a block cannot
///           be cached and is no reference.
///   else    text, one block id a line: whole numbers up to 2^64 - 1; blank lines are passed over
/// `block_tokens`: of a block of prompts; 0: 16 or 512, whichever fits all lengths. Throws InputError that
/// names file and line and says what is valid.
BlockTrace read_block_trace(const std::filesystem::path& file, Tokens block_tokens = Tokens(0));

}  // namespace pagelab
