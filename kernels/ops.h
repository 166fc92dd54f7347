// The interface that a forward pass is written over: operations on matrices and on paged KV.
//
// A backend (cpu, cuda) implements Ops and owns what it hands out: packed weights, the activation arena and the
// KV pools of the device and the host tier. A forward pass borrows them for one step. Ops knows no request and
// no policy; all it learns about sequences are the arrays of AttentionBatch.
//
// Promise to the engine: a row's results depend on the row's own inputs alone, never on which other rows share
// the call, on how a sequence's context was split into chunks, on the block size or on the number of threads.
// This is what makes tokens independent of batch composition and of preemption.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace pagelab::kernels {

enum class DType : std::uint8_t { f32, bf16, f16 };

/// Bytes of one element.
constexpr std::size_t size_of(DType type) { return type == DType::f32 ? 4 : 2; }
constexpr std::string_view name_of(DType type) {
  return type == DType::f32 ? "f32" : type == DType::bf16 ? "bf16" : "f16";
}

/// A row-major activation matrix, rows contiguous, in memory of the backend's device. Not owned. The cpu backend
/// keeps activations in f32.
struct Tensor {
  float* data = nullptr;
  std::int32_t rows = 0;
  std::int32_t cols = 0;

  float* row(std::int32_t index) const { return data + static_cast<std::ptrdiff_t>(index) * cols; }
};

/// A row-major weight in host memory, as read from a checkpoint or drawn at random. Not owned.
struct HostTensor {
  const void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t rows = 0;  ///< output features; for a vector, 1
  std::int64_t cols = 0;  ///< input features
  bool transposed = false;  ///< stored [cols, rows] (GPT-2's Conv1D) rather than [rows, cols]
};

/// A weight as the backend keeps it (packed, on its device). Made by Ops::matrix and Ops::vector.
class Weight {
 public:
  virtual ~Weight() = default;
  virtual std::int64_t rows() const = 0;
  virtual std::int64_t cols() const = 0;
};

/// The shape of a paged KV cache: one pool of blocks per tier; a block holds `block_size` token slots of K and V
/// for all layers. The order of K and V inside a block is the backend's own business.
struct KvShape {
  std::int32_t layers = 0;
  std::int32_t kv_heads = 0;
  std::int32_t head_size = 0;   ///< 64 to 256, a multiple of 8
  std::int32_t block_size = 0;  ///< token slots per block, 1 to 256
  DType dtype = DType::f32;
  std::int32_t device_blocks = 0;
  std::int32_t host_blocks = 0;

  /// Bytes of one block over all layers, K and V.
  std::int64_t block_bytes() const {
    return std::int64_t{2} * layers * kv_heads * head_size * block_size * static_cast<std::int64_t>(size_of(dtype));
  }
};

/// What attention learns of a step: S sequences, T tokens in all, in the order of the token arrays.
/// The contract between block management and kernels; every array is host memory that outlives the call.
struct AttentionBatch {
  std::span<const std::int32_t> query_indptr;    ///< [S+1] first token of each sequence's chunk
  std::span<const std::int32_t> kv_indptr;       ///< [S+1] first entry of each sequence in kv_indices
  std::span<const std::int32_t> kv_indices;      ///< [kv_indptr[S]] physical device blocks, in logical order
  std::span<const std::int32_t> last_block_len;  ///< [S] slots in use in each sequence's last block, 1..block_size
  std::span<const std::int32_t> positions;       ///< [T] position of each token in its sequence
  std::span<const std::int32_t> slot_mapping;    ///< [T] slot to write: block * block_size + offset

  // What serves sequences that do not keep all tokens, on backends with Ops::serves_retention(): a sequence's
  // last token attends to all slots of its table, each token before it to one slot less, whatever their
  // positions are. On other backends a token attends to as many slots as its position says.
  std::span<const std::int32_t> weighed{};  ///< rising: sequences whose attention weights are handed out
  /// For each of those a number per slot of its table: attention() adds the weights that the slot receives from
  /// the sequence's tokens, over all heads, each rounded to a multiple of 2^-23 so that sums are exact.
  std::span<double> slot_weights{};

  /// Slots that a sequence's last token attends to.
  std::int32_t context(std::size_t sequence, std::int32_t block_size) const {
    return (kv_indptr[sequence + 1] - kv_indptr[sequence] - 1) * block_size + last_block_len[sequence];
  }
};

/// One block to copy: device to device, or between the tiers.
struct BlockCopy {
  std::int32_t source;
  std::int32_t target;
};

/// One token's K and V to move within the device tier; slots as in slot_mapping.
struct SlotMove {
  std::int32_t source;
  std::int32_t target;
};

enum class Activation : std::uint8_t { none, relu, gelu, gelu_tanh };

/// Rotary embedding (RoFormer, section 3.4), LLaMA's layout: dimension i pairs with i + head_size / 2.
/// `inv_freq` holds head_size / 2 inverse frequencies, scaling (LLaMA 3) already applied.
struct Rotary {
  std::span<const float> inv_freq;
};

/// How the next token of one row of logits is drawn.
struct SampleSpec {
  enum class Kind : std::uint8_t {
    greedy,  ///< the largest logit; ties go to the smaller id
    random,  ///< `count` independent draws after temperature, top-k, top-p
    top      ///< the `count` largest, in falling order, for beam search
  };
  Kind kind = Kind::greedy;
  std::int32_t count = 1;      ///< candidates wanted
  float temperature = 1.0f;    ///< > 0
  std::int32_t top_k = 0;      ///< 0: all
  float top_p = 1.0f;          ///< in (0, 1]
};

/// One candidate for the next token. logprob is log-softmax of the raw logits (before temperature), natural log.
struct Candidate {
  std::int32_t token = 0;
  float logprob = 0;
};

/// Time spent per kind of operation since the start; read by benchmarks and the run summary.
enum class OpKind : std::uint8_t { linear, attention, kv_write, norm, rotary, activation, embedding, sampling, copy, count_ };
std::string_view name_of(OpKind kind);

class Ops {
 public:
  virtual ~Ops() = default;

  // --- Weights. `parts` are stacked by rows into one matrix (fused QKV, gate and up); all share cols. A backend
  // may widen or round to its own storage; the host memory may go once the call returns.
  virtual std::unique_ptr<Weight> matrix(std::span<const HostTensor> parts) = 0;
  virtual std::unique_ptr<Weight> vector(std::span<const HostTensor> parts) = 0;

  // --- The KV cache. Called once, before the first step. Throws, with nothing changed, std::bad_alloc or an error
  // that says how much memory was asked for.
  virtual void allocate_kv(const KvShape& shape) = 0;

  // --- Activations. A tensor from scratch() is valid until the next begin_step().
  virtual void begin_step() = 0;
  virtual Tensor scratch(std::int32_t rows, std::int32_t cols) = 0;

  /// out[t] (+)= table[ids[t]]. `accumulate` adds to out. Requires 0 <= ids[t] < table.rows().
  virtual void embedding(const Weight& table, std::span<const std::int32_t> ids, Tensor out, bool accumulate) = 0;
  virtual void layer_norm(Tensor x, const Weight& gamma, const Weight& beta, float epsilon, Tensor out) = 0;
  virtual void rms_norm(Tensor x, const Weight& gamma, float epsilon, Tensor out) = 0;
  /// out (+)= act(x * w^T + bias); x [M, w.cols()], out [M, w.rows()]; bias may be null. With `accumulate` the
  /// product is added to out (the residual) and `act` must be none.
  virtual void linear(Tensor x, const Weight& w, const Weight* bias, Activation act, bool accumulate, Tensor out) = 0;
  /// out[m, i] = silu(x[m, i]) * x[m, F + i], x [M, 2F], out [M, F].
  virtual void silu_mul(Tensor x, Tensor out) = 0;
  /// Rotates the first `heads` heads of each row of x in place: row layout [heads..., rest].
  virtual void rotary(Tensor x, std::int32_t heads, std::int32_t head_size, std::span<const std::int32_t> positions,
                      const Rotary& rotary) = 0;
  /// Writes K and V of every token of the step into its slot. qkv rows: [q heads | k heads | v heads].
  virtual void write_kv(std::int32_t layer, Tensor qkv, std::int32_t heads, const AttentionBatch& batch) = 0;
  /// Causal paged attention (SOSP'23, section 4.1) of every chunk over its sequence's blocks; q is the first
  /// heads * head_size columns of qkv; out [T, heads * head_size]. Grouped-query when heads > kv_heads.
  virtual void attention(std::int32_t layer, Tensor qkv, std::int32_t heads, float scale, const AttentionBatch& batch,
                         Tensor out) = 0;
  /// out[i] = x[rows[i]].
  virtual void gather_rows(Tensor x, std::span<const std::int32_t> rows, Tensor out) = 0;
  /// Candidates of row i go to out[indptr[i] .. indptr[i + 1]), indptr[i + 1] - indptr[i] = specs[i].count.
  /// `uniforms` is parallel to `out`: the number in [0, 1) that decides that draw (read for Kind::random only), so
  /// that randomness stays with the caller and is the same on every backend. `out` must live until synchronize(),
  /// which fills it if nothing did before.
  virtual void sample(Tensor logits, std::span<const SampleSpec> specs, std::span<const std::int32_t> indptr,
                      std::span<const float> uniforms, std::span<Candidate> out) = 0;

  // --- Block traffic, each for all layers at once.
  virtual void copy_blocks(std::span<const BlockCopy> copies) = 0;  ///< device -> device
  virtual void swap_out(std::span<const BlockCopy> copies) = 0;     ///< device -> host
  virtual void swap_in(std::span<const BlockCopy> copies) = 0;      ///< host -> device

  // --- For sequences that do not keep all tokens.
  /// Whether attention() follows the table rather than the positions and hands out weights, and move_slots()
  /// works.
  virtual bool serves_retention() const { return false; }
  /// Moves tokens, all layers at once. No slot is both a source and a target. Requires serves_retention().
  virtual void move_slots(std::span<const SlotMove> moves) { (void)moves; }

  /// Waits for all queued work.
  virtual void synchronize() = 0;
  /// Seconds spent in operations of this kind since construction.
  virtual double seconds_in(OpKind kind) const = 0;
};

}  // namespace pagelab::kernels
