#include "models/model.h"

#include <fmt/format.h>

#include "core/error.h"
#include "models/checkpoint.h"
#include "models/family.h"
#include "models/weights.h"

namespace pagelab {

kernels::Tensor Model::forward(kernels::Ops& ops, std::span<const std::int32_t> ids,
                               const kernels::AttentionBatch& batch, std::span<const std::int32_t> rows) {
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= shape_.vocab) {
      throw InputError(fmt::format("token id {} is not in the vocabulary of {} (0 to {})", id, shape_.name,
                                   shape_.vocab - 1));
    }
  }
  for (const std::int32_t position : batch.positions) {
    if (position < 0 || position >= shape_.max_positions) {
      throw InputError(fmt::format("position {} is beyond the {} positions of {}", position,
                                   shape_.max_positions, shape_.name));
    }
  }
  return ids.empty() ? kernels::Tensor{} : run(ops, ids, batch, rows);
}

kernels::Tensor rows_of(kernels::Ops& ops, kernels::Tensor x, std::span<const std::int32_t> rows) {
  const kernels::Tensor out = ops.scratch(static_cast<std::int32_t>(rows.size()), x.cols);
  ops.gather_rows(x, rows, out);
  return out;
}

namespace {

void check_kernels_take(const ModelShape& shape) {
  if (shape.head_size < 64 || shape.head_size > 256 || shape.head_size % 8 != 0) {
    throw InputError(fmt::format("{}: heads of size {} cannot be run (64 to 256, a multiple of 8)",
                                 shape.name, shape.head_size));
  }
}

std::unique_ptr<Model> load_from(WeightSource& source, const ModelShape& shape, kernels::Ops& ops) {
  WeightLoader weights(source, ops);
  std::unique_ptr<Model> model = shape.family->load(shape, weights);
  source.finish();
  return model;
}

}  // namespace

std::unique_ptr<Model> random_model(const ModelShape& shape, std::uint64_t seed, kernels::Ops& ops) {
  check_kernels_take(shape);
  RandomWeights source(seed);
  return load_from(source, shape, ops);
}

std::unique_ptr<Model> load_model(const std::string& model, std::uint64_t seed, kernels::Ops& ops) {
  const ModelShape shape = resolve_shape(model);
  if (find_shape(model) != nullptr) {
    return random_model(shape, seed, ops);
  }
  check_kernels_take(shape);
  const Checkpoint checkpoint{std::filesystem::path(model)};
  CheckpointWeights source(checkpoint, shape);
  return load_from(source, shape, ops);
}

}  // namespace pagelab
