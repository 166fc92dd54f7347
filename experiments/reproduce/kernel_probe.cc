#include "experiments/reproduce/kernel_probe.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/random.h"

namespace pagelab {

KernelProbe::KernelProbe(std::unique_ptr<kernels::Ops> ops, const KernelCall& call)
    : ops_(std::move(ops)), call_(call), blocks_((call.context + call.block_size - 1) / call.block_size) {
  kernels::KvShape shape{.layers = 1,
                         .kv_heads = call.heads,
                         .head_size = call.head_size,
                         .block_size = call.block_size,
                         .dtype = call.dtype,
                         .device_blocks = call.batch * blocks_,
                         .host_blocks = 0};
  shape.layers = static_cast<std::int32_t>(
      std::clamp<std::int64_t>(call.kv_bytes / (shape.block_bytes() * shape.device_blocks), 2, 64));
  layers_ = shape.layers;
  ops_->allocate_kv(shape);
  const std::vector<float> elements(std::size_t{3} * static_cast<std::size_t>(call.heads * call.head_size),
                                    0.01F);
  const kernels::HostTensor row{
      .data = elements.data(), .rows = 1, .cols = static_cast<std::int64_t>(elements.size())};
  row_ = ops_->matrix({&row, 1});
  indices_.resize(static_cast<std::size_t>(shape.device_blocks));
  std::iota(indices_.begin(), indices_.end(), 0);
  if (call.scattered) {
    scatter();
  }
  fill();
  for (std::int32_t i = 0; i <= call.batch; ++i) {
    query_indptr_.push_back(i);
    kv_indptr_.push_back(i * blocks_);
  }
  last_block_len_.assign(static_cast<std::size_t>(call.batch),
                         call.context - (blocks_ - 1) * call.block_size);
  positions_.assign(static_cast<std::size_t>(call.batch), call.context - 1);
}

double KernelProbe::time_call() {
  const kernels::AttentionBatch step{query_indptr_, kv_indptr_, indices_, last_block_len_, positions_, {}};
  const double before = ops_->seconds_in(kernels::OpKind::attention);
  ops_->begin_step();
  const kernels::Tensor qkv = filled(call_.batch, 3 * call_.heads * call_.head_size);
  const kernels::Tensor out = ops_->scratch(call_.batch, call_.heads * call_.head_size);
  layer_ = (layer_ + 1) % layers_;
  ops_->attention(layer_, qkv, call_.heads, 1 / std::sqrt(static_cast<float>(call_.head_size)), step, out);
  ops_->synchronize();
  return ops_->seconds_in(kernels::OpKind::attention) - before;
}

void KernelProbe::scatter() {
  RandomStream random(1, "kernel figure");
  for (std::size_t i = indices_.size(); i > 1; --i) {
    std::swap(indices_[i - 1], indices_[random.below(i)]);
  }
}

kernels::Tensor KernelProbe::filled(std::int32_t rows, std::int32_t cols) {
  const kernels::Tensor tensor = ops_->scratch(rows, cols);
  const std::vector<std::int32_t> first(static_cast<std::size_t>(rows), 0);
  ops_->embedding(*row_, first, tensor, false);
  return tensor;
}

void KernelProbe::fill() {
  const std::vector<std::int32_t> chunk = {0, call_.context};
  const std::vector<std::int32_t> table = {0, blocks_};
  std::vector<std::int32_t> positions(static_cast<std::size_t>(call_.context));
  std::iota(positions.begin(), positions.end(), 0);
  for (std::int32_t sequence = 0; sequence < call_.batch; ++sequence) {
    std::vector<std::int32_t> slots;
    for (const std::int32_t p : positions) {
      const std::int32_t entry = sequence * blocks_ + p / call_.block_size;
      slots.push_back(indices_[static_cast<std::size_t>(entry)] * call_.block_size + p % call_.block_size);
    }
    ops_->begin_step();
    const kernels::Tensor qkv = filled(call_.context, 3 * call_.heads * call_.head_size);
    const kernels::AttentionBatch batch{chunk, table, {}, {}, positions, slots};
    for (std::int32_t layer = 0; layer < layers_; ++layer) {
      ops_->write_kv(layer, qkv, call_.heads, batch);
    }
    ops_->synchronize();
  }
}

}  // namespace pagelab
