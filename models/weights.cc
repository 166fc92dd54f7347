#include "models/weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "models/family.h"

namespace pagelab {
namespace {

std::optional<kernels::DType> dtype_of(std::string_view name) {
  for (const auto& [text, dtype] :
       {std::pair{"F32", kernels::DType::f32}, std::pair{"BF16", kernels::DType::bf16},
        std::pair{"F16", kernels::DType::f16}}) {
    if (name == text) {
      return dtype;
    }
  }
  return {};
}

/// The tensor's shape as a checkpoint stores it.
std::vector<std::int64_t> stored_shape(const TensorSpec& spec) {
  if (spec.rows == 0) {
    return {spec.cols};
  }
  return spec.transposed ? std::vector{spec.cols, spec.rows} : std::vector{spec.rows, spec.cols};
}

kernels::HostTensor describe(const TensorSpec& spec, kernels::DType dtype, const std::byte* data) {
  return {data, dtype, std::max<std::int64_t>(spec.rows, 1), spec.cols, spec.transposed};
}

bool ends_with_any(std::string_view name, std::span<const std::string_view> ends) {
  return std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return name.ends_with(end); });
}

}  // namespace

std::byte* HostBuffer::reserve(std::size_t bytes) {
  if (bytes > size_) {
    memory_.reset();  // before the larger one is made
    size_ = 0;
    memory_ = std::make_unique_for_overwrite<std::byte[]>(bytes);
    size_ = bytes;
  }
  return memory_.get();
}

CheckpointWeights::CheckpointWeights(const Checkpoint& checkpoint, const ModelShape& shape)
    : checkpoint_(checkpoint), shape_(shape) {
  const auto prefixes = shape.family->prefixes;
  const auto found = std::find_if(prefixes.begin(), prefixes.end(), [&](std::string_view prefix) {
    return checkpoint.tensors().contains(fmt::format("{}{}", prefix, shape.family->landmark));
  });
  if (found == prefixes.end()) {
    throw InputError(
        fmt::format("{}: no tensor '{}' with any of the prefixes '{}': not the weights of {} model",
                    checkpoint.folder().string(), shape.family->landmark, fmt::join(prefixes, "', '"),
                    shape.family->name));
  }
  prefix_ = *found;
}

kernels::HostTensor CheckpointWeights::read(const TensorSpec& spec, HostBuffer& buffer) {
  auto found = checkpoint_.tensors().find(prefix_ + spec.name);
  if (found == checkpoint_.tensors().end()) {
    found = checkpoint_.tensors().find(spec.name);  // the head stands outside of the prefix
  }
  if (found == checkpoint_.tensors().end()) {
    throw InputError(
        fmt::format("{}: tensor '{}{}' is missing", checkpoint_.folder().string(), prefix_, spec.name));
  }
  const std::string& name = found->first;
  const Checkpoint::Tensor& tensor = found->second;
  const auto fail = [&](const std::string& what) {
    throw InputError(fmt::format("{}: tensor '{}': {}", tensor.file->path().string(), name, what));
  };
  const auto dtype = dtype_of(tensor.entry->dtype);
  if (!dtype) {
    fail(fmt::format("weights of dtype {} are not supported (supported: F32, BF16, F16)",
                     tensor.entry->dtype));
  }
  if (tensor.entry->shape != stored_shape(spec)) {
    fail(fmt::format("shape [{}], but config.json asks for [{}]", fmt::join(tensor.entry->shape, ", "),
                     fmt::join(stored_shape(spec), ", ")));
  }
  used_.insert(name);
  const auto bytes = tensor.file->bytes(*tensor.entry);
  const std::byte* data = bytes.data();
  if (reinterpret_cast<std::uintptr_t>(data) % kernels::size_of(*dtype) !=
      0) {  // old files do not align their data
    data = static_cast<const std::byte*>(std::memcpy(buffer.reserve(bytes.size()), data, bytes.size()));
  }
  return describe(spec, *dtype, data);
}

void CheckpointWeights::finish() {
  for (const auto& [name, tensor] : checkpoint_.tensors()) {
    const bool tied_copy = shape_.tied_head && name == "lm_head.weight";
    if (!used_.contains(name) && !tied_copy && !ends_with_any(name, shape_.family->ignored)) {
      throw InputError(fmt::format("{}: tensor '{}': not a weight of the {} model that config.json describes",
                                   tensor.file->path().string(), name, shape_.family->name));
    }
  }
}

namespace {

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), addressed by position.
std::uint64_t splitmix(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

void fill(float* out, std::int64_t begin, std::int64_t end, std::uint64_t seed, float mean, float deviation) {
  if (deviation == 0) {
    std::fill(out + begin, out + end, mean);
    return;
  }
  // Four uniform integers of 16 bits: mean 4 * 65535 / 2, variance 4 * (2^32 - 1) / 12.
  const auto scale = static_cast<float>(deviation / std::sqrt((0x1p32 - 1) / 3));
  for (std::int64_t i = begin; i < end; ++i) {
    const std::uint64_t bits = splitmix(seed, static_cast<std::uint64_t>(i));
    const auto sum = static_cast<std::int32_t>((bits & 0xFFFF) + (bits >> 16 & 0xFFFF) +
                                               (bits >> 32 & 0xFFFF) + (bits >> 48));
    out[i] = mean + scale * static_cast<float>(sum - 2 * 65535);
  }
}

}  // namespace

kernels::HostTensor RandomWeights::read(const TensorSpec& spec, HostBuffer& buffer) {
  const std::int64_t count = std::max<std::int64_t>(spec.rows, 1) * spec.cols;
  std::byte* const memory = buffer.reserve(static_cast<std::size_t>(count) * sizeof(float));
  auto* const values = reinterpret_cast<float*>(memory);
  const std::uint64_t seed = derive_seed(seed_, spec.name);
  constexpr std::int64_t kSmallest = 1 << 18;  // fewer numbers are not worth a thread
  const std::int64_t threads =
      std::clamp<std::int64_t>(count / kSmallest, 1, std::max(1u, std::thread::hardware_concurrency()));
  std::vector<std::jthread> others;
  for (std::int64_t i = 1; i < threads; ++i) {
    others.emplace_back(fill, values, count * i / threads, count * (i + 1) / threads, seed, spec.mean,
                        spec.deviation);
  }
  fill(values, 0, count / threads, seed, spec.mean, spec.deviation);
  others.clear();
  return describe(spec, kernels::DType::f32, memory);
}

std::vector<kernels::HostTensor> WeightLoader::read(std::span<const TensorSpec> parts) {
  buffers_.resize(std::max(buffers_.size(), parts.size()));
  std::vector<kernels::HostTensor> tensors;
  for (const TensorSpec& part : parts) {
    tensors.push_back(source_.read(part, buffers_[tensors.size()]));
  }
  return tensors;
}

std::unique_ptr<kernels::Weight> WeightLoader::matrix(std::initializer_list<TensorSpec> parts,
                                                      std::int64_t skip_rows) {
  std::vector<kernels::HostTensor> tensors = read({parts.begin(), parts.size()});
  kernels::HostTensor& first = tensors.front();
  first.data = static_cast<const std::byte*>(first.data) +
               skip_rows * first.cols * static_cast<std::int64_t>(kernels::size_of(first.dtype));
  first.rows -= skip_rows;
  return ops_.matrix(tensors);
}

std::unique_ptr<kernels::Weight> WeightLoader::vector(std::initializer_list<TensorSpec> parts) {
  return ops_.vector(read({parts.begin(), parts.size()}));
}

std::unique_ptr<kernels::Weight> WeightLoader::ones(const std::string& name, std::int64_t size) {
  return vector({{.name = name, .cols = size, .mean = 1.0f, .deviation = 0.0f}});
}

std::unique_ptr<kernels::Weight> WeightLoader::zeros(const std::string& name, std::int64_t size) {
  return vector({{.name = name, .cols = size, .mean = 0.0f, .deviation = 0.0f}});
}

}  // namespace pagelab
