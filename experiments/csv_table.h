// CsvTable: a CSV file whose columns are declared once, for its header line and for schema.json. It owns its
// file; it does not know what the columns are about. A row is formatted in place, without allocation.
#pragma once

#include <charconv>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "experiments/output_file.h"

namespace pagelab {

/// One column of a CSV file. Empty cells mean "does not apply".
struct CsvColumn {
  std::string_view name;
  std::string_view type;  ///< "integer", "real" or "text"
  std::string_view unit;  ///< "s", "slots", ...; empty: none
  std::string_view meaning;
};

class CsvTable {
 public:
  /// Creates the file and writes the header. Throws OutputError.
  CsvTable(std::filesystem::path path, std::span<const CsvColumn> columns);

  /// One row being written; the cells go in the order of the columns.
  class Row {
   public:
    /// `text_bytes`: an upper limit of the bytes of all text cells, quotes and doubled quotes included.
    explicit Row(CsvTable& table, std::size_t text_bytes = 0);
    Row(const Row&) = delete;
    Row& operator=(const Row&) = delete;
    Row& integer(std::int64_t value);
    /// The shortest text that reads back to the same number.
    Row& real(double value);
    /// Quoted if it needs to be (RFC 4180).
    Row& text(std::string_view value);
    Row& empty();
    /// Ends the line. Aborts unless every column has its cell.
    void end();

   private:
    void comma();

    CsvTable& table_;
    char* at_;
    std::size_t cells_ = 0;
  };

  void complete() { file_.complete(); }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  OutputFile file_;
  std::size_t columns_;
};

}  // namespace pagelab
