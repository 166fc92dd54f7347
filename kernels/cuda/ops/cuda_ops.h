// CudaOps: the operations of kernels/ops.h on a CUDA device. Owns the streams, the KV pools of both tiers,
// the activation arena and everything between the host and the kernels; the weights it makes belong to the
// caller and must not outlive it. Activations are f32; weights and their products' inputs are of the type
// that the options name.
//
// Operations are recorded and start at synchronize(): the arrays of a whole step then go to the device in one
// copy, and swap traffic runs beside the first layers. So the results of sample() are there after
// synchronize() and no sooner, and what it writes to must live until then. The arrays of an AttentionBatch
// must not change between the operations that they are given to and synchronize(); of other arrays a copy is
// taken at once. One caller at a time.
//
// The promise of kernels/ops.h, that a row's results do not depend on the other rows of a call, on chunks and
// on block sizes, holds up to rounding only: cuBLAS chooses its algorithm, and so its order of summation, by
// the shape of a product, and long contexts are cut by how many sequences there are. Equal calls give equal
// results.
#pragma once

#include <cuda_runtime.h>

#include <memory>
#include <span>
#include <vector>

#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/decode_attention.h"
#include "kernels/cuda/ops/arena.h"
#include "kernels/cuda/ops/block_moves.h"
#include "kernels/cuda/ops/command_list.h"
#include "kernels/cuda/ops/gemm.h"
#include "kernels/cuda/ops/kv_pools.h"
#include "kernels/cuda/ops/make_cuda_ops.h"
#include "kernels/cuda/ops/step_graphs.h"
#include "kernels/cuda/ops/step_uploads.h"
#include "kernels/cuda/ops/stream.h"
#include "kernels/cuda/ops/timers.h"
#include "kernels/ops.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

class CudaOps final : public Ops {
 public:
  /// Throws CudaError if there is no device or it lacks memory.
  explicit CudaOps(const CudaOptions& options);
  /// Waits for all queued work.
  ~CudaOps() override;

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

  /// Throws std::runtime_error that names the row if logits were no distribution (NaN, infinity).
  void synchronize() override;
  /// Measured by CUDA events, as far as the last synchronize(). Swap traffic counts as copying although it
  /// runs beside other work. Steps that were replayed as a graph are not measured by operation.
  double seconds_in(OpKind kind) const override;

  /// Steps that were replayed as a graph.
  std::int64_t graph_replays() const { return graphs_.replays(); }

 private:
  /// The batch of the operations being recorded, on its way to the device.
  struct StagedBatch {
    AttentionBatch host;
    DeviceBatch device;
    bool planned = false;
    DecodeWork decode{};  ///< without its workspace
    const PrefillItem* prefills = nullptr;
  };
  /// Candidates on their way to the host, and where they go when they are there.
  struct Result {
    const Candidate* arrived;
    std::span<Candidate> out;
    std::size_t first_row, rows;  ///< in result_ends_
  };

  StagedBatch& stage(const AttentionBatch& batch);
  StagedBatch& plan(const AttentionBatch& batch);
  void swap(BlockMoves::Direction direction, std::span<const BlockCopy> copies);
  /// Queues all that was recorded.
  void submit();
  void run_commands();
  /// Hands the candidates that have arrived to those who asked for them.
  void deliver_results();

  CudaOptions options_;
  std::int32_t multiprocessors_;
  Stream compute_;
  Gemm gemm_;
  Arena<DeviceMemory> arena_;
  Arena<PinnedMemory> results_memory_;
  StepUploads uploads_;
  CommandList commands_;
  BlockMoves moves_;
  StepGraphs graphs_;
  StreamTimer timer_;
  OpSeconds seconds_{};
  std::unique_ptr<KvPools> kv_;
  AttentionPlan attention_plan_;
  StagedBatch batch_;
  bool staged_ = false;  ///< batch_ is that of the commands being recorded
  std::vector<Result> results_;
  std::vector<std::int32_t> result_ends_;  ///< per row, where its candidates end in its Result
};

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
