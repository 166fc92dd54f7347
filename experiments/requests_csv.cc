#include "experiments/requests_csv.h"

#include <optional>

#include <fmt/format.h>

namespace pagelab {

namespace {

constexpr CsvColumn request_columns[] = {
    {"request", "integer", "",
     "number of the request in order of arrival, from 0; rows are in order of ending"},
    {"client", "integer", "", "who sent it"},
    {"arrival_s", "real", "s", "when it arrived, since the start of the run"},
    {"admitted_s", "real", "s", "when the first step that it took part in began"},
    {"first_token_s", "real", "s", "when its first output token was there"},
    {"finished_s", "real", "s", "when its last sequence ended"},
    {"prompt_tokens", "integer", "tokens", "length of the prompt"},
    {"output_tokens", "integer", "tokens", "produced, over all its sequences"},
    {"sequences", "integer", "", "sequences of its output: 1, the parallel samples, or the beam hypotheses"},
    {"status", "text", "", "finished, refused (it can never fit) or unfinished (the run was cut off)"},
    {"preempt_recompute", "integer", "", "times it was preempted to be recomputed"},
    {"preempt_swap", "integer", "", "times it was preempted by swapping"},
    {"tokens_recomputed", "integer", "tokens", "computed again after preemption"},
    {"tokens_hit", "integer", "tokens", "of the prompt, in the prefix cache when it was first admitted"},
    {"output_hash", "text", "",
     "FNV-1a (64 bits, an id at a time) over the output of a finished request: equal if the tokens are"},
    {"normalized_latency_s", "real", "s/token",
     "mean over its sequences of end-to-end latency / output length"},
    {"ttft_s", "real", "s", "time to first token, from arrival"},
    {"tpot_s", "real", "s/token", "time per output token after the first, of its longest sequence"},
    {"priority", "integer", "", "how urgent it is; larger is more urgent"},
    {"deadline_s", "real", "s", "when it should have ended, since the start of the run; empty: any time"},
    {"met", "integer", "",
     "whether it ended by its deadline: 1 or 0; a refused request never does; empty without a deadline, and "
     "while unfinished"},
    {"reason", "text", "", "why it was refused"},
};

void optional_real(CsvTable::Row& row, std::optional<double> value) {
  if (value) {
    row.real(*value);
  } else {
    row.empty();
  }
}

void since_start(CsvTable::Row& row, Seconds time) {
  optional_real(row, time >= Seconds(0) ? std::optional(time.value()) : std::nullopt);
}

void priority_and_deadline(CsvTable::Row& row, const Request& request, std::optional<bool> met) {
  row.integer(request.priority);
  optional_real(row, request.deadline ? std::optional(request.deadline->value()) : std::nullopt);
  if (met) {
    row.integer(*met ? 1 : 0);
  } else {
    row.empty();
  }
}

std::int64_t prompt_tokens(const Request& request) {
  return static_cast<std::int64_t>(request.prompt.size());
}

}  // namespace

std::span<const CsvColumn> RequestsCsv::columns() {
  return request_columns;
}

void RequestsCsv::add(const SequenceGroup& group, const RequestMetrics& metrics) {
  const Request& request = group.request;
  const bool finished = group.state == GroupState::finished;
  CsvTable::Row row(table_);
  row.integer(request.id.value()).integer(request.client).real(request.arrival.value());
  since_start(row, group.admitted);
  since_start(row, group.first_token);
  since_start(row, group.finished);
  row.integer(prompt_tokens(request)).integer(metrics.output_tokens.value()).integer(metrics.sequences);
  row.text(finished ? "finished" : "unfinished");
  row.integer(group.preempted_recompute).integer(group.preempted_swap).integer(group.recomputed.value());
  row.integer(group.hits.value());
  char hash[16] = {};
  if (finished) {
    fmt::format_to_n(hash, sizeof hash, "{:016x}", output_hash(group));
  }
  row.text(std::string_view(hash, finished ? sizeof hash : 0));
  optional_real(row, metrics.normalized_latency_s);
  optional_real(row, metrics.ttft_s);
  optional_real(row, metrics.tpot_s);
  priority_and_deadline(row, request, metrics.deadline_met);
  row.empty().end();
}

void RequestsCsv::add_refused(const Request& request, std::string_view why) {
  CsvTable::Row row(table_, 2 * why.size() + 2);
  row.integer(request.id.value()).integer(request.client).real(request.arrival.value());
  row.empty().empty().empty();
  row.integer(prompt_tokens(request))
      .integer(0)
      .integer(0)
      .text("refused")
      .integer(0)
      .integer(0)
      .integer(0)
      .integer(0);
  row.empty().empty().empty().empty();
  priority_and_deadline(row, request, request.deadline ? std::optional(false) : std::nullopt);
  row.text(why).end();
}

}  // namespace pagelab
