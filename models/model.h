// Model: a transformer's weights and its forward pass over kernels::Ops. Owns the packed weights, which live
// in the backend that packed them: the backend must outlive the model. Knows no request; KV blocks belong to
// the backend.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "kernels/ops.h"
#include "models/shape.h"

namespace pagelab {

class Model {
 public:
  virtual ~Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const ModelShape& shape() const { return shape_; }

  /// Runs the tokens ids [T] through the model, writing their K and V; the logits [rows.size(), vocab] of the
  /// tokens `rows` (indices into ids, in any order, repeats allowed). Between Ops::begin_step() and the next;
  /// `ops` is the backend that packed the weights. Throws InputError if an id is not in the vocabulary or a
  /// position is beyond max_positions.
  kernels::Tensor forward(kernels::Ops& ops, std::span<const std::int32_t> ids,
                          const kernels::AttentionBatch& batch, std::span<const std::int32_t> rows);

 protected:
  explicit Model(const ModelShape& shape) : shape_(shape) {}

 private:
  virtual kernels::Tensor run(kernels::Ops& ops, std::span<const std::int32_t> ids,
                              const kernels::AttentionBatch& batch, std::span<const std::int32_t> rows) = 0;

  ModelShape shape_;
};

/// Whether the last layer ends with writing K and V, since nobody asks for what its attention gives.
inline bool ends_at_kv(std::span<const std::int32_t> rows, const kernels::AttentionBatch& batch) {
  return rows.empty() && batch.weighed.empty();
}

/// The first rows of x.
inline kernels::Tensor first_rows(kernels::Tensor x, std::int32_t rows) {
  return {x.data, rows, x.cols};
}
/// Rows that a buffer for all tokens and for the wanted rows must hold.
inline std::int32_t most_rows(std::span<const std::int32_t> ids, std::span<const std::int32_t> rows) {
  return static_cast<std::int32_t>(std::max(ids.size(), rows.size()));
}
/// x [T, C] reduced to the rows given, in their order.
kernels::Tensor rows_of(kernels::Ops& ops, kernels::Tensor x, std::span<const std::int32_t> rows);

/// The model of a Hugging Face folder, or of a built-in shape with random weights from `seed` (as the family
/// initialises its weights: normal with deviation 0.02, norms 1, biases 0). Throws InputError that names the
/// file and the tensor or key, std::bad_alloc.
std::unique_ptr<Model> load_model(const std::string& model, std::uint64_t seed, kernels::Ops& ops);
/// Random weights for any shape.
std::unique_ptr<Model> random_model(const ModelShape& shape, std::uint64_t seed, kernels::Ops& ops);

}  // namespace pagelab
