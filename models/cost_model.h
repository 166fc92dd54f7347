// CostModel: how long a step takes on a described device, operator by operator: the forward pass of
// models/{opt,llama,gpt2}.cc with a formula (models/device_description.h) in the place of each call, plus
// block and slot traffic and the host's share. It runs nothing and keeps nothing of a step.
//
// Swap out, swap in, copies and the forward pass follow one another, and so does the host's work: nothing
// overlaps, but for the mapping of pages where it is said to (vAttention, ASPLOS 2025, section 6.2: pages for
// the next step are mapped while this one runs). Where the serving software swaps on a stream of its own
// (swap_overlaps), a layer waits for its own blocks only: of L layers, those of the slower of transfer and
// forward pass run one after the other, and one of the faster; the copies' fixed cost is the host's and
// stays. A chunk of one token counts as a decode, whether its successor is drawn or not; the head runs over
// the sampled rows only. Under tensor parallelism the devices do the same at the same time, each with its
// shard, and wait for each other in two all-reduces per layer and one gather of the logits.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "core/device.h"
#include "core/ids.h"
#include "models/device_description.h"
#include "models/shape.h"
#include "models/shard.h"

namespace pagelab {

/// What the serving software adds on the host to each step.
struct HostCost {
  double step_s = 0;
  double sequence_s = 0;       ///< per sequence in the step
  double request_s = 0;        ///< per request that gets next tokens, however many
  double draw_s = 0;           ///< the same, in addition, of those that are not decoded greedily
  double fork_token_s = 0;     ///< per token of a sequence that beam search splits off
  double prefill_token_s = 0;  ///< per token of prefill chunks
  double parallel_s = 0;       ///< per step on more than one device
};

struct CostOptions {
  std::int32_t gpus = 1;
  Tokens block_size{16};
  kernels::DType dtype = kernels::DType::f16;  ///< of weights and activations
  kernels::DType kv_dtype = kernels::DType::f16;
  HostCost host{};
  bool swap_overlaps = false;  ///< the bytes of swapped blocks move beside the forward pass, layer by layer
  double map_s = 0;            ///< of mapping one page; a block has one per layer for K and one for V
  bool map_overlaps = false;   ///< mapping costs only what it takes longer than the rest of the step
  bool padded = false;  ///< every chunk is computed as if it had the most tokens and the longest context
};

/// The kinds of operators that a step's time is split into.
enum class StepCostKind : std::uint8_t {
  swap_out,
  swap_in,
  block_copy,
  elementwise,  ///< embedding, norms, residuals, activations, rotary, KV write
  linear,       ///< the layers' matrix products
  head,         ///< the product that makes the logits
  prefill_attention,
  decode_attention,
  all_reduce,
  sampling,
  step,  ///< what the device's description adds to each step
  host,
  map,  ///< pages of blocks that sequences got
  count_
};
std::string_view name_of(StepCostKind kind);

/// Seconds by kind.
class OpCosts {
 public:
  double& operator[](StepCostKind kind) { return seconds_[static_cast<std::size_t>(kind)]; }
  double operator[](StepCostKind kind) const { return seconds_[static_cast<std::size_t>(kind)]; }
  Seconds total() const;
  /// The operators of the forward pass, from elementwise to sampling.
  Seconds forward() const;
  OpCosts& operator+=(const OpCosts& other);

 private:
  std::array<double, static_cast<std::size_t>(StepCostKind::count_)> seconds_{};
};

class CostModel {
 public:
  /// Throws InputError if the model cannot be divided among the devices or the description does not know
  /// their number.
  CostModel(const DeviceDescription& device, const ModelShape& shape, const CostOptions& options);

  OpCosts step(const StepBatch& batch) const;

  // The operators alone, on one device, in seconds.
  double product_s(std::int64_t m, std::int64_t n, std::int64_t k) const;
  /// A chunk's share of one layer's attention: `count` tokens after a context of `first`.
  double prefill_chunk_s(std::int64_t first, std::int64_t count) const;
  /// One layer's attention of decodes whose contexts have `context` tokens together, the longest `longest`.
  double decode_s(std::int64_t sequences, std::int64_t context, std::int64_t longest) const;
  /// Requires more than one device.
  double all_reduce_s(double message_bytes) const;
  /// What a prefill of `count` tokens from position 0 on adds to a step of `sequences` decodes, host
  /// included.
  double added_prefill_s(std::int64_t sequences, std::int64_t count) const;
  /// What swapping so many blocks adds to a step whose forward pass takes `forward_s`; by itself where that
  /// is 0.
  double swap_out_s(std::int64_t blocks, double forward_s = 0) const;
  double swap_in_s(std::int64_t blocks, double forward_s = 0) const;

 private:
  /// What of a step its cost depends on.
  struct Work {
    std::int64_t sequences = 0;
    std::int64_t tokens = 0;
    std::int64_t decodes = 0;
    std::int64_t decode_context = 0;   ///< tokens that the decodes attend to, over all of them
    std::int64_t decode_longest = 0;   ///< the most that one attends to
    std::int64_t prefill_longest = 0;  ///< the same of the prefill chunks
    double prefill_s = 0;              ///< the chunks' shares of one layer's prefill attention
  };
  /// A matrix product but for its rows.
  struct Product {
    double flops_per_row = 0;
    double weight_bytes = 0;
    double bytes_per_row = 0;
    double bandwidth = 0;  ///< reached
  };

  Product product(std::int64_t n, std::int64_t k) const;
  double time(const Product& product, double rows, double peak_flops) const;
  double peak_flops(std::int64_t rows) const;
  double transfer_s(const DeviceDescription::Swap& link, std::int64_t blocks) const;
  double swap_s(const DeviceDescription::Swap& link, std::int64_t blocks, double forward_s) const;
  double share_not_hidden(double transfer_s, double forward_s) const;
  /// The swaps of a step whose forward pass is in `out`.
  void swaps(const StepBatch& batch, OpCosts& out) const;
  void find_all_reduce();
  void count_elementwise(const ModelShape& shape);
  Work work_of(const StepBatch& batch) const;
  Work padded_work_of(const StepBatch& batch) const;
  void add(Work& work, std::int64_t first, std::int64_t count) const;
  void forward(const Work& work, std::int64_t rows, OpCosts& out) const;
  /// `share` of the attention of this work.
  void add_attention(const Work& work, double share, OpCosts& out) const;
  /// Handing out attention weights: a second pass over K, half of the attention of those chunks.
  void add_weighing(const StepBatch& batch, OpCosts& out) const;

  DeviceDescription device_;
  CostOptions options_;
  Shard shard_;
  std::int32_t layers_;
  double element_bytes_;
  double block_bytes_;     ///< on one device
  double kv_token_bytes_;  ///< K and V of a token in one layer, on one device
  double pair_flops_;      ///< of a query token and a token that it attends to
  double decode_byte_s_;   ///< per KV byte at full efficiency
  double decode_launch_s_, decode_longest_s_;

  Product qkv_, output_, up_, down_, head_, project_in_, project_out_;
  bool projects_;
  double vocab_, hidden_;

  // Elementwise operators: how many there are, and bytes moved per token and per sampled row.
  std::int32_t token_operators_ = 0, row_operators_ = 0;
  double token_bytes_ = 0, row_bytes_ = 0;

  double message_latency_s_ = 0, message_byte_s_ = 0;  ///< of an all-reduce
};

}  // namespace pagelab
