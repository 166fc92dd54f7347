// Device: what executes a step. cpu, cuda and sim each implement it; the engine knows only this.
//
// The engine owns the arrays of a StepBatch and keeps them unchanged while execute() runs. The device owns
// the memory of both tiers' blocks and fills the StepResult. It takes no decision: which block holds what is
// decided by the plan that the batch was made from.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/ids.h"
#include "core/preemption_costs.h"

namespace pagelab {

/// One block to copy; ids of the tiers that the list it is in says.
struct BlockCopy {
  BlockId source;
  BlockId target;
};

/// How the next token of a row is chosen; mirrors the request's sampling rule (see core/request.h).
struct SampleRow {
  enum class Kind : std::uint8_t { greedy, random, top };
  std::int32_t row = 0;  ///< index of the token in the batch whose logits are used
  Kind kind = Kind::greedy;
  std::int32_t count = 1;  ///< candidates wanted
  float temperature = 1.0f;
  std::int32_t top_k = 0;
  float top_p = 1.0f;
  std::uint64_t seed = 0;
  std::uint32_t stream = 0;
  std::uint32_t position = 0;
};

/// A run of new tokens of one sequence. The sequence's context when they are computed is positions 0 .. first
/// + count - 1; position p is in slot p % block_size of blocks[p / block_size].
struct Chunk {
  std::span<const BlockId> blocks;  ///< block table in logical order; may reach beyond the context
  std::int32_t first = 0;           ///< position of the first token
  std::int32_t count = 0;           ///< at least 1
  std::int32_t row = 0;             ///< index of the first token in StepBatch::tokens
};

/// The work of one step, in the order in which it is done: blocks swapped out, swapped in, copied; then the
/// tokens run through the model, writing their K and V; then the sampled rows. Tables are borrowed for the
/// step.
struct StepBatch {
  std::vector<BlockCopy> swap_out;  ///< device -> host
  std::vector<BlockCopy> swap_in;   ///< host -> device
  std::vector<BlockCopy> copies;    ///< device -> device (copy on write)

  std::vector<Chunk> chunks;
  std::vector<TokenId> tokens;  ///< of all chunks, one after the other

  std::vector<SampleRow> samples;
  std::int32_t candidates = 0;  ///< wanted by all samples

  Blocks mapped{};  ///< blocks that tables got in this step, where the allocation policy maps their pages
};

/// A candidate for the next token; logprob in natural log, of the raw logits.
struct TokenCandidate {
  TokenId token = 0;
  float logprob = 0;
};

struct StepResult {
  std::vector<TokenCandidate>
      candidates;    ///< of all samples, in their order; the engine sizes it, the device fills it
  Seconds duration;  ///< what the step took: measured, or modelled in virtual time
};

struct DeviceCapacity {
  Blocks device_blocks;
  Blocks host_blocks;
  Tokens block_size;
  Bytes block_bytes;            ///< K and V of one block over all layers
  Tokens max_positions;         ///< longest sequence that the model can take
  std::int32_t vocabulary = 0;  ///< token ids are 0 .. vocabulary - 1
  Bytes row_bytes{};            ///< K of one token in one layer on one device; 0: not told
  bool maps_pages = false;  ///< a block is mapped to addresses of one sequence, so that none can be shared
};

class Device {
 public:
  virtual ~Device() = default;
  virtual DeviceCapacity capacity() const = 0;
  /// Runs the step to its end. Throws std::runtime_error if the device fails; the run then ends.
  virtual void execute(const StepBatch& batch, StepResult& result) = 0;
  /// What preempting costs here, owned by the device and as it knows it when asked; null where it never will.
  virtual const PreemptionCosts* preemption_costs() const { return nullptr; }
};

}  // namespace pagelab
