// Where the weights of a model come from: a checkpoint, or a seed. A model asks for its tensors by the names
// that Hugging Face checkpoints use (without the prefix) and hands them to the backend, which packs its own
// copy; the host copy of one matrix lives no longer than that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "models/checkpoint.h"
#include "models/shape.h"

namespace pagelab {

/// A tensor that a model needs, and how it is drawn when there is no checkpoint.
struct TensorSpec {
  std::string name;
  std::int64_t rows = 0;  ///< 0: a vector of `cols`
  std::int64_t cols = 0;
  float mean = 0.0f;
  float deviation = 0.02f;
  bool transposed = false;  ///< stored [cols, rows]
};

/// Host memory that is used again for one tensor after another. Owns it.
class HostBuffer {
 public:
  /// At least `bytes` bytes, aligned for any element; what was there is lost. Throws std::bad_alloc.
  std::byte* reserve(std::size_t bytes);

 private:
  std::unique_ptr<std::byte[]> memory_;
  std::size_t size_ = 0;
};

class WeightSource {
 public:
  virtual ~WeightSource() = default;
  /// The tensor, in `buffer` or in memory of the source; valid until the buffer is used again.
  virtual kernels::HostTensor read(const TensorSpec& spec, HostBuffer& buffer) = 0;
  /// Called when the model has read all it needs.
  virtual void finish() = 0;
};

/// Weights of a checkpoint. Throws InputError that names the tensor and the file if one is missing or has
/// another shape or dtype than the model needs, and in finish() if there are tensors that the model does not
/// know.
class CheckpointWeights final : public WeightSource {
 public:
  CheckpointWeights(const Checkpoint& checkpoint, const ModelShape& shape);
  kernels::HostTensor read(const TensorSpec& spec, HostBuffer& buffer) override;
  void finish() override;

 private:
  const Checkpoint& checkpoint_;
  const ModelShape& shape_;
  std::string prefix_;
  std::set<std::string, std::less<>> used_;
};

/// Random weights: element i of a tensor depends on the seed, the tensor's name and i alone, so they are the
/// same whatever the number of threads. Nearly normal (the sum of four uniform 16-bit numbers), f32.
class RandomWeights final : public WeightSource {
 public:
  explicit RandomWeights(std::uint64_t seed) : seed_(seed) {}
  kernels::HostTensor read(const TensorSpec& spec, HostBuffer& buffer) override;
  void finish() override {}

 private:
  std::uint64_t seed_;
};

/// Reads tensors from a source and packs them with a backend. Owns the host copies of the parts of one
/// matrix.
class WeightLoader {
 public:
  WeightLoader(WeightSource& source, kernels::Ops& ops) : source_(source), ops_(ops) {}

  /// The tensors stacked by rows into one matrix. `skip_rows` leaves out the first rows of the first one.
  std::unique_ptr<kernels::Weight> matrix(std::initializer_list<TensorSpec> parts,
                                          std::int64_t skip_rows = 0);
  /// The tensors one after another as one vector.
  std::unique_ptr<kernels::Weight> vector(std::initializer_list<TensorSpec> parts);
  /// The scale and the shift of a norm.
  std::unique_ptr<kernels::Weight> ones(const std::string& name, std::int64_t size);
  std::unique_ptr<kernels::Weight> zeros(const std::string& name, std::int64_t size);

 private:
  std::vector<kernels::HostTensor> read(std::span<const TensorSpec> parts);

  WeightSource& source_;
  kernels::Ops& ops_;
  std::vector<HostBuffer> buffers_;  ///< one per part
};

}  // namespace pagelab
