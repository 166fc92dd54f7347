#include "kernels/cpu/cpu_ops.h"

#include <algorithm>
#include <chrono>

#include "kernels/cpu/activation.h"
#include "kernels/cpu/block_copy.h"
#include "kernels/cpu/embedding.h"
#include "kernels/cpu/float_convert.h"
#include "kernels/cpu/norm.h"
#include "kernels/cpu/packed_matrix.h"
#include "kernels/cpu/rotary.h"
#include "kernels/cpu/sampling.h"
#include "kernels/cpu/slot_move.h"

namespace pagelab::kernels::cpu {
namespace {

/// Every tensor of the arena begins on a cache line.
constexpr std::size_t kAlignment = 64;
/// Arena chunks grow by at least this much, so that the first steps settle quickly.
constexpr std::size_t kArenaGrowth = std::size_t{4} << 20;

/// A bias or the scale of a norm, in f32.
class VectorWeight final : public Weight {
 public:
  explicit VectorWeight(std::vector<float> values) : values_(std::move(values)) {}
  std::int64_t rows() const override { return 1; }
  std::int64_t cols() const override { return static_cast<std::int64_t>(values_.size()); }
  const float* data() const { return values_.data(); }

 private:
  std::vector<float> values_;
};

const PackedMatrix& matrix_of(const Weight& weight) {
  return static_cast<const PackedMatrix&>(weight);
}
const float* values_of(const Weight& weight) {
  return static_cast<const VectorWeight&>(weight).data();
}

}  // namespace

class CpuOps::Timer {
 public:
  Timer(CpuOps& ops, OpKind kind)
      : total_(ops.seconds_[static_cast<std::size_t>(kind)]), start_(std::chrono::steady_clock::now()) {}
  ~Timer() { total_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  double& total_;
  std::chrono::steady_clock::time_point start_;
};

CpuOps::CpuOps(const CpuOptions& options)
    : weight_dtype_(options.weight_dtype),
      mapped_kv_(options.mapped_kv),
      pool_(options.threads),
      gemm_(pool_),
      attention_(pool_) {}

std::unique_ptr<Weight> CpuOps::matrix(std::span<const HostTensor> parts) {
  return std::make_unique<PackedMatrix>(pool_, parts, weight_dtype_);
}

std::unique_ptr<Weight> CpuOps::vector(std::span<const HostTensor> parts) {
  std::vector<float> values;
  for (const HostTensor& part : parts) {
    for (std::int64_t i = 0; i < part.rows * part.cols; ++i) {
      values.push_back(load_as_f32(part.data, part.dtype, i));
    }
  }
  return std::make_unique<VectorWeight>(std::move(values));
}

void CpuOps::allocate_kv(const KvShape& shape) {
  kv_ = std::make_unique<KvCache>(shape, mapped_kv_);
}

void CpuOps::begin_step() {
  mapped_ = false;
  if (arena_.size() > 1) {  // the last step outgrew the arena: one chunk for all that it needed
    std::size_t total = 0;
    for (const HugeMemory& chunk : arena_) {
      total += chunk.size();
    }
    arena_.clear();
    arena_.emplace_back(total);
  }
  arena_used_ = 0;
}

Tensor CpuOps::scratch(std::int32_t rows, std::int32_t cols) {
  const std::size_t bytes =
      (static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols) * sizeof(float) + kAlignment - 1) /
      kAlignment * kAlignment;
  if (arena_.empty() || arena_.back().size() - arena_used_ < bytes) {
    arena_.emplace_back(std::max(bytes, kArenaGrowth));
    arena_used_ = 0;
  }
  auto* data = reinterpret_cast<float*>(arena_.back().data() + arena_used_);
  arena_used_ += bytes;
  return {data, rows, cols};
}

void CpuOps::embedding(const Weight& table, std::span<const std::int32_t> ids, Tensor out, bool accumulate) {
  const Timer timer(*this, OpKind::embedding);
  cpu::embedding(pool_, matrix_of(table), ids, out, accumulate);
}

void CpuOps::layer_norm(Tensor x, const Weight& gamma, const Weight& beta, float epsilon, Tensor out) {
  const Timer timer(*this, OpKind::norm);
  cpu::layer_norm(pool_, x, values_of(gamma), values_of(beta), epsilon, out);
}

void CpuOps::rms_norm(Tensor x, const Weight& gamma, float epsilon, Tensor out) {
  const Timer timer(*this, OpKind::norm);
  cpu::rms_norm(pool_, x, values_of(gamma), epsilon, out);
}

void CpuOps::linear(Tensor x, const Weight& w, const Weight* bias, Activation act, bool accumulate,
                    Tensor out) {
  const Timer timer(*this, OpKind::linear);
  gemm_.run(x, matrix_of(w), {bias == nullptr ? nullptr : values_of(*bias), act, accumulate}, out);
}

void CpuOps::silu_mul(Tensor x, Tensor out) {
  const Timer timer(*this, OpKind::activation);
  cpu::silu_mul(pool_, x, out);
}

void CpuOps::rotary(Tensor x, std::int32_t heads, std::int32_t head_size,
                    std::span<const std::int32_t> positions, const Rotary& rotary) {
  const Timer timer(*this, OpKind::rotary);
  cpu::rotary(pool_, x, heads, head_size, positions, rotary);
}

void CpuOps::write_kv(std::int32_t layer, Tensor qkv, std::int32_t heads, const AttentionBatch& batch) {
  const Timer timer(*this, OpKind::kv_write);
  if (kv_->mapped() && !mapped_) {
    kv_->map(batch);
    mapped_ = true;
  }
  cpu::write_kv(*kv_, pool_, layer, qkv, heads, batch);
}

void CpuOps::attention(std::int32_t layer, Tensor qkv, std::int32_t heads, float scale,
                       const AttentionBatch& batch, Tensor out) {
  const Timer timer(*this, OpKind::attention);
  attention_.run(*kv_, layer, qkv, heads, scale, batch, out);
}

void CpuOps::gather_rows(Tensor x, std::span<const std::int32_t> rows, Tensor out) {
  const Timer timer(*this, OpKind::embedding);
  cpu::gather_rows(pool_, x, rows, out);
}

void CpuOps::sample(Tensor logits, std::span<const SampleSpec> specs, std::span<const std::int32_t> indptr,
                    std::span<const float> uniforms, std::span<Candidate> out) {
  const Timer timer(*this, OpKind::sampling);
  cpu::sample(pool_, logits, specs, indptr, uniforms, out);
}

void CpuOps::copy_blocks(std::span<const BlockCopy> copies) {
  const Timer timer(*this, OpKind::copy);
  cpu::copy_blocks(*kv_, pool_, copies);
}

void CpuOps::swap_out(std::span<const BlockCopy> copies) {
  const Timer timer(*this, OpKind::copy);
  cpu::swap_out(*kv_, pool_, copies);
}

void CpuOps::swap_in(std::span<const BlockCopy> copies) {
  const Timer timer(*this, OpKind::copy);
  cpu::swap_in(*kv_, pool_, copies);
}

void CpuOps::move_slots(std::span<const SlotMove> moves) {
  const Timer timer(*this, OpKind::copy);
  cpu::move_slots(*kv_, pool_, moves);
}

double CpuOps::seconds_in(OpKind kind) const {
  return seconds_[static_cast<std::size_t>(kind)];
}

}  // namespace pagelab::kernels::cpu
