#include "experiments/reproduce/figure_csv.h"

#include <algorithm>
#include <array>
#include <sstream>
#include <string>

#include <fmt/format.h>

#include "core/config.h"
#include "core/error.h"
#include "core/parameters.h"
#include "experiments/csv_table.h"

namespace pagelab {

namespace {

constexpr std::string_view published_header = "system,x,y";

constexpr std::array figure_columns = {
    CsvColumn{"system", "text", "", "the series, named as its system's file unless the figure names it"},
    CsvColumn{"x", "text", "", "a number, or a category"},
    CsvColumn{"ours", "real", "", "mean over the seeds"},
    CsvColumn{"ours_min", "real", "", "the smallest of the seeds"},
    CsvColumn{"ours_max", "real", "", "the largest of the seeds"},
    CsvColumn{"published", "real", "", "what the paper shows"}};

struct PublishedRow {
  std::string_view system;
  FigureX x;
  double y = 0;
};

PublishedRow parse_row(std::string_view line, const std::string& place) {
  const std::size_t first = line.find(',');
  const std::size_t second = first == line.npos ? line.npos : line.find(',', first + 1);
  if (second == line.npos || line.find(',', second + 1) != line.npos) {
    throw InputError(fmt::format("{}: must have three cells, {}; found '{}'", place, published_header, line));
  }
  const std::string_view cell = line.substr(second + 1);
  const FigureX y = figure_x(cell);
  if (!y.number) {
    throw InputError(fmt::format("{}: y must be a number; found '{}'", place, cell));
  }
  return {line.substr(0, first), figure_x(line.substr(first + 1, second - first - 1)), *y.number};
}

FigureCurve& curve_named(std::string_view name, std::span<FigureCurve> curves, const std::string& place) {
  const auto curve = std::ranges::find(curves, name, &FigureCurve::name);
  if (curve != curves.end()) {
    return *curve;
  }
  std::vector<std::string> names;
  for (const FigureCurve& known : curves) {
    names.push_back(known.name);
  }
  throw InputError(fmt::format("{}: system {}", place, unknown_text(name, "series of this figure", names)));
}

void write_row(CsvTable& table, const FigureCurve& curve, const CurvePoint& point, const double* published) {
  CsvTable::Row row(table, 2 * (curve.name.size() + point.x.text.size()) + 4);
  row.text(curve.name).text(point.x.text);
  if (point.ours) {
    row.real(point.ours->mean).real(point.ours->min).real(point.ours->max);
  } else {
    row.empty().empty().empty();
  }
  if (published != nullptr) {
    row.real(*published);
  } else {
    row.empty();
  }
  row.end();
}

}  // namespace

void add_published(const std::filesystem::path& file, std::span<FigureCurve> curves) {
  std::istringstream lines(read_text_file(file));
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    if (line.ends_with('\r')) {
      line.pop_back();
    }
    const std::string place = fmt::format("{}:{}", file.string(), number);
    if (number == 1) {
      if (line != published_header) {
        throw InputError(
            fmt::format("{}: the columns must be {}; found '{}'", place, published_header, line));
      }
    } else if (!line.empty()) {
      const PublishedRow row = parse_row(line, place);
      curve_named(row.system, curves, place).at(row.x).published.push_back(row.y);
    }
  }
}

void write_figure_csv(const std::filesystem::path& file, std::span<const FigureCurve> curves) {
  CsvTable table(file, figure_columns);
  for (const FigureCurve& curve : curves) {
    for (const CurvePoint& point : curve.points) {
      if (point.published.empty()) {
        write_row(table, curve, point, nullptr);
      }
      for (const double& published : point.published) {
        write_row(table, curve, point, &published);
      }
    }
  }
  table.complete();
}

}  // namespace pagelab
