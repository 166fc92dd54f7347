#include "experiments/csv_table.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"

namespace pagelab {

namespace {

constexpr std::size_t number_bytes = 32;  // of an integer or the shortest form of a double, with its comma

}  // namespace

CsvTable::CsvTable(std::filesystem::path path, std::span<const CsvColumn> columns)
    : file_(std::move(path)), columns_(columns.size()) {
  for (const CsvColumn& column : columns) {
    file_.write(&column == columns.data() ? "" : ",");
    file_.write(column.name);
  }
  file_.write("\n");
  file_.flush();  // so that even a file that cannot grow is a table
}

CsvTable::Row::Row(CsvTable& table, std::size_t text_bytes)
    : table_(table), at_(table.file_.room(table.columns_ * number_bytes + text_bytes)) {}

void CsvTable::Row::comma() {
  if (cells_++ > 0) {
    *at_++ = ',';
  }
}

CsvTable::Row& CsvTable::Row::integer(std::int64_t value) {
  comma();
  at_ = std::to_chars(at_, at_ + number_bytes, value).ptr;
  return *this;
}

CsvTable::Row& CsvTable::Row::real(double value) {
  comma();
  at_ = std::to_chars(at_, at_ + number_bytes, value).ptr;
  return *this;
}

CsvTable::Row& CsvTable::Row::text(std::string_view value) {
  comma();
  if (value.find_first_of(",\"\r\n") == std::string_view::npos) {
    at_ = std::copy(value.begin(), value.end(), at_);
    return *this;
  }
  *at_++ = '"';
  for (const char c : value) {
    if (c == '"') {
      *at_++ = '"';
    }
    *at_++ = c;
  }
  *at_++ = '"';
  return *this;
}

CsvTable::Row& CsvTable::Row::empty() {
  comma();
  return *this;
}

void CsvTable::Row::end() {
  PAGELAB_INVARIANT(cells_ == table_.columns_, fmt::format("{} cells in a row of {} with {} columns", cells_,
                                                           table_.path().string(), table_.columns_));
  *at_++ = '\n';
  table_.file_.wrote(at_);
}

}  // namespace pagelab
