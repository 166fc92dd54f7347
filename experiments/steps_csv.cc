#include "experiments/steps_csv.h"

#include <fmt/format.h>

namespace pagelab {

namespace {

constexpr CsvColumn step_columns[] = {
    {"step", "integer", "", "number of the step, from 0"},
    {"time_s", "real", "s", "when the step began, since the start of the run"},
    {"duration_s", "real", "s",
     "what the step took: measured with the real clock, modelled with the virtual one"},
    {"slots_total", "integer", "slots",
     "token slots of the device pool; the sum of the six states that follow"},
    {"slots_token", "integer", "slots", "hold valid KV, counted once however many sequences share it"},
    {"slots_cached", "integer", "slots", "hold valid KV that no sequence uses"},
    {"slots_reserved", "integer", "slots", "allocated and empty, will be filled later"},
    {"slots_internal", "integer", "slots",
     "allocated and empty, will never be filled (internal fragmentation)"},
    {"slots_external", "integer", "slots", "free but unusable under the allocator (external fragmentation)"},
    {"slots_free", "integer", "slots", "free and usable"},
    {"blocks_logical", "integer", "blocks", "entries of the block tables of all running sequences"},
    {"blocks_physical", "integer", "blocks", "allocated device blocks"},
    {"host_blocks_used", "integer", "blocks", "allocated host blocks"},
    {"running", "integer", "groups", "sequence groups that hold device blocks while the step runs"},
    {"waiting", "integer", "groups", "sequence groups that wait to be admitted or recomputed"},
    {"swapped", "integer", "groups", "sequence groups whose blocks are on the host"},
    {"tokens_prefill", "integer", "tokens", "computed in chunks: prompts, and recomputation"},
    {"tokens_decode", "integer", "tokens", "computed one per sequence, right after they were drawn"},
    {"tokens_recomputed", "integer", "tokens", "of both: those whose KV had been computed before"},
    {"preempt_recompute", "integer", "groups", "preempted in this step, to be recomputed"},
    {"preempt_swap", "integer", "groups", "preempted in this step by swapping to the host"},
    {"blocks_copied", "integer", "blocks", "copied on write"},
    {"bytes_swapped_in", "integer", "bytes", "from host to device"},
    {"bytes_swapped_out", "integer", "bytes", "from device to host"},
    {"tokens_hit", "integer", "tokens", "not computed, since the prefix cache had their KV"},
    {"evictions", "integer", "blocks", "whose cached content was dropped"},
    {"evicted_then_needed", "integer", "blocks",
     "computed and cached again after their content had been evicted"},
};

}  // namespace

void check_ledger(const StepRecord& record) {
  const SlotLedger& slots = record.slots;
  if (!slots.balanced()) {
    throw LedgerError(
        fmt::format("step {}: the slot states do not add up: token {} + cached {} + reserved {} + internal "
                    "{} + external {} + "
                    "free {} is not the total of {}",
                    record.step, slots.token.value(), slots.cached.value(), slots.reserved.value(),
                    slots.internal.value(), slots.external.value(), slots.free.value(), slots.total.value()));
  }
}

std::span<const CsvColumn> StepsCsv::columns() {
  return step_columns;
}

void StepsCsv::add(const StepRecord& record) {
  const SlotLedger& slots = record.slots;
  CsvTable::Row row(table_);
  row.integer(record.step).real(record.time.value()).real(record.duration.value());
  row.integer(slots.total.value()).integer(slots.token.value()).integer(slots.cached.value());
  row.integer(slots.reserved.value()).integer(slots.internal.value()).integer(slots.external.value());
  row.integer(slots.free.value());
  row.integer(record.blocks_logical.value()).integer(record.blocks_physical.value());
  row.integer(record.host_blocks_used.value());
  row.integer(record.running).integer(record.waiting).integer(record.swapped);
  row.integer(record.tokens_prefill.value()).integer(record.tokens_decode.value());
  row.integer(record.tokens_recomputed.value());
  row.integer(record.preempt_recompute).integer(record.preempt_swap).integer(record.blocks_copied.value());
  row.integer(record.bytes_swapped_in.value()).integer(record.bytes_swapped_out.value());
  row.integer(record.tokens_hit.value()).integer(record.evictions).integer(record.evicted_then_needed);
  row.end();
}

}  // namespace pagelab
