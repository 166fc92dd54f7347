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

/// One token's KV to move within the device pool. Slots are block * block_size + offset.
struct SlotMove {
  std::int32_t source = 0;
  std::int32_t target = 0;
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

/// A run of new tokens of one sequence. The sequence's context when they are computed is the first context()
/// slots of its table; slot s is slot s % block_size of blocks[s / block_size]. Each token sees the slots
/// before the chunk and those of the chunk's tokens up to its own. Position p is in slot p, unless `dropped`
/// is not 0.
struct Chunk {
  static constexpr std::int32_t none = -1;

  std::span<const BlockId> blocks;  ///< block table in logical order; may reach beyond the context
  std::int32_t first = 0;           ///< position of the first token
  std::int32_t count = 0;           ///< at least 1
  std::int32_t row = 0;             ///< index of the first token in StepBatch::tokens
  std::int32_t dropped = 0;         ///< positions before `first` that no slot holds any more
  std::int32_t hole = none;         ///< the slot for the first token, if not the one behind those held

  std::int32_t held() const { return first - dropped; }  ///< slots filled before this step
  std::int32_t context() const { return held() + count; }
  /// The slot for token `index` of the chunk.
  std::int32_t slot(std::int32_t index) const { return index == 0 && hole != none ? hole : held() + index; }
};

/// A chunk whose sequence's retention policy wants to know which slots receive attention.
struct WeighedChunk {
  std::int32_t chunk = 0;
  std::uint64_t seed = 0;                   ///< of the request; read by devices that have no attention
  std::span<const std::int32_t> positions;  ///< of the token in each slot of the context; read by the same
};

/// The work of one step, in the order in which it is done: tokens moved, blocks swapped out, swapped in,
/// copied; then the tokens run through the model, writing their K and V; then the sampled rows. Tables are
/// borrowed for the step.
struct StepBatch {
  std::vector<SlotMove> moves;      ///< no slot is both a source and a target
  std::vector<BlockCopy> swap_out;  ///< device -> host
  std::vector<BlockCopy> swap_in;   ///< host -> device
  std::vector<BlockCopy> copies;    ///< device -> device (copy on write)

  std::vector<Chunk> chunks;
  std::vector<TokenId> tokens;        ///< of all chunks, one after the other
  std::vector<WeighedChunk> weighed;  ///< in rising order of chunks

  std::vector<SampleRow> samples;
  std::int32_t candidates = 0;  ///< wanted by all samples
  std::int32_t requests = 0;    ///< whose next tokens they are
  std::int32_t greedy = 0;      ///< of those, the ones that are decoded greedily

  Tokens forked{};  ///< of the sequences that beam search split off since the last step, prompts included
  Blocks mapped{};  ///< blocks that tables got in this step, where the allocation policy maps their pages
};

/// A candidate for the next token; logprob in natural log, of the raw logits.
struct TokenCandidate {
  TokenId token = 0;
  float logprob = 0;
};

struct StepResult {
  std::vector<TokenCandidate>
      candidates;  ///< of all samples, in their order; the engine sizes it, the device fills it
  /// For each weighed chunk, context() numbers: the attention that each slot received from the chunk's
  /// tokens, summed over heads and layers. The device sizes it. Sums of them must not depend on how a
  /// sequence is cut into chunks.
  std::vector<double> slot_weights;
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
  bool retention = false;   ///< serves what drops tokens: StepBatch::moves, weighed, Chunk::dropped, hole
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
