// TracedOps: a backend that notes the shape and the time of every operator it is asked for, while tracing is
// on. Owns the backend inside and hands every call on to it, so a model runs on it as on the backend itself.
//
// The time of a call is what Ops::seconds_in() grew by. A backend that queues its work knows that only when
// it has waited, so a traced call begins and ends with synchronize(): steps on such a backend are slower
// while traced, and whole steps are to be timed with tracing off.
#pragma once

#include <memory>
#include <vector>

#include "kernels/ops.h"

namespace pagelab {

/// A call of an operator; of a product: x [rows, inner] and a weight [cols, inner], of others: its output
/// [rows, cols], and inner is 0.
struct TracedCall {
  kernels::OpKind kind = kernels::OpKind::linear;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t inner = 0;
  double seconds = 0;
};

class TracedOps final : public kernels::Ops {
 public:
  explicit TracedOps(std::unique_ptr<kernels::Ops> inside) : inside_(std::move(inside)) {}

  /// Forgets the calls noted so far and begins to note further ones, in their order.
  void start_trace();
  void stop_trace() { tracing_ = false; }
  const std::vector<TracedCall>& calls() const { return calls_; }

  std::unique_ptr<kernels::Weight> matrix(std::span<const kernels::HostTensor> parts) override {
    return inside_->matrix(parts);
  }
  std::unique_ptr<kernels::Weight> vector(std::span<const kernels::HostTensor> parts) override {
    return inside_->vector(parts);
  }
  void allocate_kv(const kernels::KvShape& shape) override { inside_->allocate_kv(shape); }
  void begin_step() override { inside_->begin_step(); }
  kernels::Tensor scratch(std::int32_t rows, std::int32_t cols) override {
    return inside_->scratch(rows, cols);
  }
  void embedding(const kernels::Weight& table, std::span<const std::int32_t> ids, kernels::Tensor out,
                 bool accumulate) override;
  void layer_norm(kernels::Tensor x, const kernels::Weight& gamma, const kernels::Weight& beta, float epsilon,
                  kernels::Tensor out) override;
  void rms_norm(kernels::Tensor x, const kernels::Weight& gamma, float epsilon, kernels::Tensor out) override;
  void linear(kernels::Tensor x, const kernels::Weight& w, const kernels::Weight* bias,
              kernels::Activation act, bool accumulate, kernels::Tensor out) override;
  void silu_mul(kernels::Tensor x, kernels::Tensor out) override;
  void rotary(kernels::Tensor x, std::int32_t heads, std::int32_t head_size,
              std::span<const std::int32_t> positions, const kernels::Rotary& rotary) override;
  void write_kv(std::int32_t layer, kernels::Tensor qkv, std::int32_t heads,
                const kernels::AttentionBatch& batch) override;
  void attention(std::int32_t layer, kernels::Tensor qkv, std::int32_t heads, float scale,
                 const kernels::AttentionBatch& batch, kernels::Tensor out) override;
  void gather_rows(kernels::Tensor x, std::span<const std::int32_t> rows, kernels::Tensor out) override;
  void sample(kernels::Tensor logits, std::span<const kernels::SampleSpec> specs,
              std::span<const std::int32_t> indptr, std::span<const float> uniforms,
              std::span<kernels::Candidate> out) override;
  void copy_blocks(std::span<const kernels::BlockCopy> copies) override { inside_->copy_blocks(copies); }
  void swap_out(std::span<const kernels::BlockCopy> copies) override { inside_->swap_out(copies); }
  void swap_in(std::span<const kernels::BlockCopy> copies) override { inside_->swap_in(copies); }
  void synchronize() override { inside_->synchronize(); }
  double seconds_in(kernels::OpKind kind) const override { return inside_->seconds_in(kind); }

 private:
  template <class Call>
  void trace(TracedCall shape, Call&& call);

  std::unique_ptr<kernels::Ops> inside_;
  bool tracing_ = false;
  std::vector<TracedCall> calls_;
};

}  // namespace pagelab
