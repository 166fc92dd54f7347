#include "experiments/calibrate/traced_ops.h"

namespace pagelab {

using kernels::OpKind;
using kernels::Tensor;
using kernels::Weight;

void TracedOps::start_trace() {
  calls_.clear();
  tracing_ = true;
}

template <class Call>
void TracedOps::trace(TracedCall shape, Call&& call) {
  if (!tracing_) {
    call();
    return;
  }
  inside_->synchronize();
  const double before = inside_->seconds_in(shape.kind);
  call();
  inside_->synchronize();
  shape.seconds = inside_->seconds_in(shape.kind) - before;
  calls_.push_back(shape);
}

void TracedOps::embedding(const Weight& table, std::span<const std::int32_t> ids, Tensor out,
                          bool accumulate) {
  trace({OpKind::embedding, out.rows, out.cols}, [&] { inside_->embedding(table, ids, out, accumulate); });
}

void TracedOps::layer_norm(Tensor x, const Weight& gamma, const Weight& beta, float epsilon, Tensor out) {
  trace({OpKind::norm, out.rows, out.cols}, [&] { inside_->layer_norm(x, gamma, beta, epsilon, out); });
}

void TracedOps::rms_norm(Tensor x, const Weight& gamma, float epsilon, Tensor out) {
  trace({OpKind::norm, out.rows, out.cols}, [&] { inside_->rms_norm(x, gamma, epsilon, out); });
}

void TracedOps::linear(Tensor x, const Weight& w, const Weight* bias, kernels::Activation act,
                       bool accumulate, Tensor out) {
  trace({OpKind::linear, x.rows, w.rows(), w.cols()},
        [&] { inside_->linear(x, w, bias, act, accumulate, out); });
}

void TracedOps::silu_mul(Tensor x, Tensor out) {
  trace({OpKind::activation, out.rows, out.cols}, [&] { inside_->silu_mul(x, out); });
}

void TracedOps::rotary(Tensor x, std::int32_t heads, std::int32_t head_size,
                       std::span<const std::int32_t> positions, const kernels::Rotary& rotary) {
  trace({OpKind::rotary, x.rows, heads * head_size},
        [&] { inside_->rotary(x, heads, head_size, positions, rotary); });
}

void TracedOps::write_kv(std::int32_t layer, Tensor qkv, std::int32_t heads,
                         const kernels::AttentionBatch& batch) {
  trace({OpKind::kv_write, qkv.rows, qkv.cols}, [&] { inside_->write_kv(layer, qkv, heads, batch); });
}

void TracedOps::attention(std::int32_t layer, Tensor qkv, std::int32_t heads, float scale,
                          const kernels::AttentionBatch& batch, Tensor out) {
  trace({OpKind::attention, out.rows, out.cols},
        [&] { inside_->attention(layer, qkv, heads, scale, batch, out); });
}

void TracedOps::gather_rows(Tensor x, std::span<const std::int32_t> rows, Tensor out) {
  trace({OpKind::embedding, out.rows, out.cols}, [&] { inside_->gather_rows(x, rows, out); });
}

void TracedOps::sample(Tensor logits, std::span<const kernels::SampleSpec> specs,
                       std::span<const std::int32_t> indptr, std::span<const float> uniforms,
                       std::span<kernels::Candidate> out) {
  trace({OpKind::sampling, logits.rows, logits.cols},
        [&] { inside_->sample(logits, specs, indptr, uniforms, out); });
}

}  // namespace pagelab
