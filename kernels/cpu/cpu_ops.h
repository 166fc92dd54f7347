// CpuOps: the operations of kernels/ops.h on this machine's cores. Owns the thread pool, the KV pools of both
// tiers, the activation arena and the scratch memory of its kernels; the weights it makes belong to the
// caller and must not outlive it. Activations are f32; weights are stored in the type that the options name
// and widened to f32 when used. Work is done when a call returns. One caller at a time.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/huge_memory.h"
#include "kernels/cpu/kv_cache.h"
#include "kernels/cpu/paged_attention.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace pagelab::kernels::cpu {

struct CpuOptions {
  int threads = 1;                   ///< cores to use, at least 1
  DType weight_dtype = DType::bf16;  ///< storage of matrices; vectors are f32
  bool mapped_kv = false;            ///< sequences' KV blocks are mapped to adjacent addresses (KvCache)
};

class CpuOps final : public Ops {
 public:
  explicit CpuOps(const CpuOptions& options);

  std::unique_ptr<Weight> matrix(std::span<const HostTensor> parts) override;
  std::unique_ptr<Weight> vector(std::span<const HostTensor> parts) override;
  void allocate_kv(const KvShape& shape) override;

  void begin_step() override;
  Tensor scratch(std::int32_t rows, std::int32_t cols) override;

  void embedding(const Weight& table, std::span<const std::int32_t> ids, Tensor out,
                 bool accumulate) override;
  void layer_norm(Tensor x, const Weight& gamma, const Weight& beta, float epsilon, Tensor out) override;
  void rms_norm(Tensor x, const Weight& gamma, float epsilon, Tensor out) override;
  void linear(Tensor x, const Weight& w, const Weight* bias, Activation act, bool accumulate,
              Tensor out) override;
  void silu_mul(Tensor x, Tensor out) override;
  void rotary(Tensor x, std::int32_t heads, std::int32_t head_size, std::span<const std::int32_t> positions,
              const Rotary& rotary) override;
  void write_kv(std::int32_t layer, Tensor qkv, std::int32_t heads, const AttentionBatch& batch) override;
  void attention(std::int32_t layer, Tensor qkv, std::int32_t heads, float scale, const AttentionBatch& batch,
                 Tensor out) override;
  void gather_rows(Tensor x, std::span<const std::int32_t> rows, Tensor out) override;
  void sample(Tensor logits, std::span<const SampleSpec> specs, std::span<const std::int32_t> indptr,
              std::span<const float> uniforms, std::span<Candidate> out) override;

  void copy_blocks(std::span<const BlockCopy> copies) override;
  void swap_out(std::span<const BlockCopy> copies) override;
  void swap_in(std::span<const BlockCopy> copies) override;
  bool serves_retention() const override { return true; }
  void move_slots(std::span<const SlotMove> moves) override;

  void synchronize() override {}
  double seconds_in(OpKind kind) const override;

 private:
  /// Adds the time of its own life to one kind of operation.
  class Timer;

  DType weight_dtype_;
  bool mapped_kv_;
  bool mapped_ = false;  ///< the step's sequences are
  ThreadPool pool_;
  Gemm gemm_;
  PagedAttention attention_;
  std::unique_ptr<KvCache> kv_;
  std::vector<HugeMemory> arena_;  ///< the last chunk is in use; a step that outgrew it leaves several
  std::size_t arena_used_ = 0;     ///< bytes of the last chunk
  std::array<double, static_cast<std::size_t>(OpKind::count_)> seconds_{};
};

}  // namespace pagelab::kernels::cpu
