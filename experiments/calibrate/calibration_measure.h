// Measuring a device for its description (models/device_description.h): real steps of real models, and calls
// of what such steps show too little of (attention by block size, block moves, the smallest product). Whole
// steps are what is measured first, so that every operator meets the caches as it does in a run: weights come
// from memory, activations from the operator before. Gives medians; draws no conclusion (calibration.h does).
//
// All times are those of Ops::seconds_in(), except a step's, which is a ModelDevice's duration.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "experiments/calibrate/calibration_load.h"
#include "experiments/calibrate/traced_ops.h"
#include "models/shape.h"

namespace pagelab {

/// A kind of device to measure: how to make one, and how it keeps time.
struct Backend {
  std::function<std::unique_ptr<kernels::Ops>()> make;
  bool queues = false;  ///< a call returns before its work is done
};

struct MeasureOptions {
  kernels::DType kv_dtype = kernels::DType::bf16;
  std::int32_t block_size = 16;
  std::int64_t kv_bytes = std::int64_t{1} << 30;  ///< of a pool, at most; bounds batch times context
  std::int32_t most_rows = 2048;                  ///< of a step
  int rounds = 5;                                 ///< whose median is taken, after one to warm up
  bool quick = false;                             ///< a coarse grid
  std::function<void(const std::string&)> log = [](const std::string&) {};
};

/// The calls of one shape in a step: they do the same work, layer by layer.
struct OperatorTime {
  TracedCall call;  ///< with the median of their seconds
  int calls = 0;    ///< in the step
};

struct StepTimes {
  std::vector<ChunkShape> chunks;
  double seconds = 0;  ///< the whole step
  double other_s = 0;  ///< of it, outside of all operators
  std::vector<OperatorTime> operators;

  /// In all operators of a kind.
  double seconds_in(kernels::OpKind kind) const;
};

struct ModelTimes {
  ModelShape shape;
  std::vector<StepTimes> steps;
};

/// One layer's call of attention for decodes.
struct AttentionTime {
  std::int32_t block_size = 0;
  std::int64_t kv_bytes = 0;  ///< read by the call
  double seconds = 0;
};

/// Blocks moved between the tiers by one call.
struct MoveTime {
  std::int32_t layers = 0;
  std::int64_t block_bytes = 0;
  std::int64_t blocks = 0;
  double out_s = 0;
  double in_s = 0;
};

struct Measurements {
  kernels::DType weight_dtype = kernels::DType::bf16;
  kernels::DType kv_dtype = kernels::DType::bf16;
  std::int32_t block_size = 16;
  double smallest_product_s = 0;
  std::vector<ModelTimes> models{};
  std::vector<AttentionTime> attention_by_block_size{};
  std::vector<MoveTime> moves{};
};

/// The steps that a model is measured in: prompts alone, decodes alone, both, within the limits of the
/// options and the model's positions.
std::vector<std::vector<ChunkShape>> step_grid(const ModelShape& shape, const MeasureOptions& options);

/// Runs a model (a built-in shape with random weights, or a checkpoint's folder) through its grid. Throws
/// InputError, std::bad_alloc and what the backend throws.
ModelTimes measure_model(const std::string& model, const Backend& backend, const MeasureOptions& options);

/// Decode attention of the shape's heads at block sizes 1 to 256.
std::vector<AttentionTime> measure_block_sizes(const ModelShape& shape, const Backend& backend,
                                               const MeasureOptions& options);

/// Swapping blocks of several sizes out and in.
std::vector<MoveTime> measure_moves(const ModelShape& shape, const Backend& backend,
                                    const MeasureOptions& options);

/// A product of next to nothing: what a call costs.
double measure_smallest_product(const Backend& backend, const MeasureOptions& options);

/// The middle value; the mean of the two middle ones of an even number. Requires one at least.
double median(std::vector<double> values);

}  // namespace pagelab
