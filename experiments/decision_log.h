// decisions.jsonl: every decision of every step with its reason, one JSON object per line. It owns the file
// only.
#pragma once

#include <filesystem>
#include <span>

#include "core/step.h"
#include "experiments/output_file.h"

namespace pagelab {

class DecisionLog {
 public:
  explicit DecisionLog(const std::filesystem::path& path) : file_(path) {}

  /// Appends one line per decision: step, time_s, decision, request, sequence (its number within the group,
  /// null for the whole group), tokens, reason. Throws OutputError.
  void add(const StepRecord& record, std::span<const Decision> decisions);
  void complete() { file_.complete(); }

 private:
  OutputFile file_;
};

/// Adds `text` to a JSON string: quotes, backslashes and control characters escaped. Needs 6 bytes per
/// character.
char* append_json_text(char* at, std::string_view text);

}  // namespace pagelab
