// steps.csv: one row per step of the engine, with the ledger of the device pool. Whoever adds a row has
// checked its ledger: a file that exists adds up. It owns the file and nothing else.
#pragma once

#include <filesystem>
#include <span>
#include <stdexcept>

#include "core/step.h"
#include "experiments/csv_table.h"

namespace pagelab {

/// The slot states of a step do not add up to the pool. The text names the step and the numbers.
class LedgerError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Throws LedgerError unless every slot of the pool is in exactly one state.
void check_ledger(const StepRecord& record);

class StepsCsv {
 public:
  static std::span<const CsvColumn> columns();

  explicit StepsCsv(const std::filesystem::path& path) : table_(path, columns()) {}

  /// Appends a row, which check_ledger() has accepted. Throws OutputError.
  void add(const StepRecord& record);
  void complete() { table_.complete(); }

 private:
  CsvTable table_;
};

}  // namespace pagelab
