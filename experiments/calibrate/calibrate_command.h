// `pagelab calibrate`: measures a real device with the models that it is to run and writes its description,
// the TOML that a device of kind `sim` reads. The one command whose output is not the same twice: it reports
// time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "kernels/ops.h"

namespace pagelab {

struct CalibrateOptions {
  std::string device = "cpu";                   ///< a kind of device that runs models
  std::vector<std::string> models;              ///< built-in shapes or folders; empty: opt-125m
  std::int32_t threads = 0;                     ///< of the cpu; 0: one per core
  kernels::DType dtype = kernels::DType::bf16;  ///< of the weights
  kernels::DType kv_dtype = kernels::DType::bf16;
  std::int32_t block_size = 16;
  std::int32_t rounds = 0;  ///< 0: 5, 2 if quick
  bool quick = false;       ///< a coarse grid: to try the command out
  std::filesystem::path out;
};

/// Writes the description to `out` and returns what was found: how far the cost model is from each measured
/// kind of step. Nothing is measured if `out` cannot be written. Throws InputError, OutputError.
std::string calibrate(const CalibrateOptions& options);

}  // namespace pagelab
