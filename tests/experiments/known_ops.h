// KnownOps: a backend that computes nothing and takes a known time, for tests of what measures backends. A
// queueing one takes it when it is waited for.
#pragma once

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/ops.h"

namespace pagelab::test {

/// Seconds of a product of [rows, inner] and [cols, inner].
inline double product_cost(double rows, double cols, double inner) {
  return 1e-6 + 1e-9 * cols * inner + 1e-12 * rows * cols * inner;
}

class KnownOps final : public kernels::Ops {
 public:
  explicit KnownOps(bool queues) : queues_(queues) {}

  std::unique_ptr<kernels::Weight> matrix(std::span<const kernels::HostTensor> parts) override {
    std::int64_t rows = 0;
    for (const kernels::HostTensor& part : parts) {
      rows += part.rows;
    }
    return std::make_unique<SizeOnly>(rows, parts.front().cols);
  }
  std::unique_ptr<kernels::Weight> vector(std::span<const kernels::HostTensor> parts) override {
    return matrix(parts);
  }
  void allocate_kv(const kernels::KvShape&) override {}
  void begin_step() override { arena_.clear(); }
  kernels::Tensor scratch(std::int32_t rows, std::int32_t cols) override {
    arena_.emplace_back(static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols));
    return {arena_.back().data(), rows, cols};
  }
  void embedding(const kernels::Weight&, std::span<const std::int32_t>, kernels::Tensor, bool) override {
    take(kernels::OpKind::embedding, 1e-6);
  }
  void layer_norm(kernels::Tensor, const kernels::Weight&, const kernels::Weight&, float,
                  kernels::Tensor) override {
    take(kernels::OpKind::norm, 2e-6);
  }
  void rms_norm(kernels::Tensor, const kernels::Weight&, float, kernels::Tensor) override {
    take(kernels::OpKind::norm, 2e-6);
  }
  void linear(kernels::Tensor x, const kernels::Weight& w, const kernels::Weight*, kernels::Activation, bool,
              kernels::Tensor) override {
    take(kernels::OpKind::linear,
         product_cost(x.rows, static_cast<double>(w.rows()), static_cast<double>(w.cols())));
  }
  void silu_mul(kernels::Tensor, kernels::Tensor) override { take(kernels::OpKind::activation, 1e-6); }
  void rotary(kernels::Tensor, std::int32_t, std::int32_t, std::span<const std::int32_t>,
              const kernels::Rotary&) override {
    take(kernels::OpKind::rotary, 1e-6);
  }
  void write_kv(std::int32_t, kernels::Tensor, std::int32_t, const kernels::AttentionBatch&) override {
    take(kernels::OpKind::kv_write, 1e-6);
  }
  void attention(std::int32_t, kernels::Tensor, std::int32_t, float, const kernels::AttentionBatch& batch,
                 kernels::Tensor) override {
    take(kernels::OpKind::attention, 1e-6 * static_cast<double>(batch.kv_indices.size()));
  }
  void gather_rows(kernels::Tensor, std::span<const std::int32_t>, kernels::Tensor) override {
    take(kernels::OpKind::embedding, 1e-6);
  }
  void sample(kernels::Tensor, std::span<const kernels::SampleSpec> specs, std::span<const std::int32_t>,
              std::span<const float>, std::span<kernels::Candidate> out) override {
    take(kernels::OpKind::sampling, 1e-6 * static_cast<double>(specs.size()));
    std::ranges::fill(out, kernels::Candidate{});
  }
  void copy_blocks(std::span<const kernels::BlockCopy>) override {}
  void swap_out(std::span<const kernels::BlockCopy> copies) override {
    take(kernels::OpKind::copy, 1e-6 * static_cast<double>(copies.size()));
  }
  void swap_in(std::span<const kernels::BlockCopy> copies) override {
    take(kernels::OpKind::copy, 2e-6 * static_cast<double>(copies.size()));
  }
  void synchronize() override {
    for (std::size_t kind = 0; kind < queued_.size(); ++kind) {
      taken_[kind] += std::exchange(queued_[kind], 0);
    }
  }
  double seconds_in(kernels::OpKind kind) const override { return taken_[static_cast<std::size_t>(kind)]; }

 private:
  class SizeOnly final : public kernels::Weight {
   public:
    SizeOnly(std::int64_t rows, std::int64_t cols) : rows_(rows), cols_(cols) {}
    std::int64_t rows() const override { return rows_; }
    std::int64_t cols() const override { return cols_; }

   private:
    std::int64_t rows_, cols_;
  };

  void take(kernels::OpKind kind, double seconds) {
    (queues_ ? queued_ : taken_)[static_cast<std::size_t>(kind)] += seconds;
  }

  bool queues_;
  std::deque<std::vector<float>> arena_;
  std::array<double, static_cast<std::size_t>(kernels::OpKind::count_)> taken_{}, queued_{};
};

}  // namespace pagelab::test
