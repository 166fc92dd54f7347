// `pagelab cache-sim`: runs a trace of block references through caches of several capacities and eviction
// policies, and says how far each policy is from the optimum. What it prints on stdout is the same every
// time; references per second go to stderr.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace pagelab {

struct CacheSimOptions {
  std::filesystem::path trace{};
  std::vector<std::string> policies{};  ///< empty: all of the axis
  std::vector<std::int64_t> capacities{};
  std::vector<std::string> overrides{};  ///< POLICY.PARAMETER=VALUE
  std::vector<std::string> plugins{};    ///< whose policies can be named
  std::int64_t block_tokens = 0;         ///< of a trace of prompts; 0: as fits
  std::filesystem::path csv{};           ///< empty: none
};

/// Returns the table of miss ratios and writes it to `csv` too. Throws InputError, OutputError, PolicyError.
std::string cache_sim(const CacheSimOptions& options);

}  // namespace pagelab
