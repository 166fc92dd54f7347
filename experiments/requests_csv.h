// requests.csv: one row per request, in the order in which they ended; those that a partial run left
// unfinished come last. It owns the file and nothing else.
#pragma once

#include <filesystem>
#include <span>
#include <string_view>

#include "core/group.h"
#include "experiments/csv_table.h"
#include "experiments/request_metrics.h"

namespace pagelab {

class RequestsCsv {
 public:
  static std::span<const CsvColumn> columns();

  explicit RequestsCsv(const std::filesystem::path& path) : table_(path, columns()) {}

  /// A request that finished or, by the state of the group, did not. Throws OutputError.
  void add(const SequenceGroup& group, const RequestMetrics& metrics);
  void add_refused(const Request& request, std::string_view why);
  void complete() { table_.complete(); }

 private:
  CsvTable table_;
};

}  // namespace pagelab
