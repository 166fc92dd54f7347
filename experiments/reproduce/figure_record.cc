#include "experiments/reproduce/figure_record.h"

#include "core/config.h"
#include "experiments/output_file.h"
#include "experiments/reproduce/figure_csv.h"

namespace pagelab {

namespace {

using Json = nlohmann::ordered_json;

Json axis_json(const FigureAxis& axis) {
  return {{"label", axis.label}, {"scale", axis.scale}, {"max", axis.max ? Json(*axis.max) : Json()}};
}

Json record_json(const FigureRecord& record) {
  const Figure& figure = *record.figure;
  Json series = Json::array();
  for (const FigureSeries& one : figure.series) {
    series.push_back({{"name", one.name}, {"label", one.label}});
  }
  Json claims = Json::array();
  for (std::size_t i = 0; i < figure.claims.size(); ++i) {
    claims.push_back(verdict_json(figure.claims[i], record.verdicts[i]));
  }
  return {{"figure", figure.name},    {"title", figure.title},      {"measured", figure.measured},
          {"kind", figure.kind},      {"quick", record.quick},      {"seeds", record.seeds},
          {"x", axis_json(figure.x)}, {"y", axis_json(figure.y)},   {"series", std::move(series)},
          {"notes", record.notes},    {"claims", std::move(claims)}};
}

}  // namespace

void write_figure(const FigureRecord& record, const std::filesystem::path& folder) {
  const std::string stem = "fig" + record.figure->name;
  write_figure_csv(folder / (stem + ".csv"), record.curves);
  write_file(folder / (stem + ".json"), record_json(record).dump(2) + "\n");
}

std::vector<Json> read_figure_records(const std::filesystem::path& folder,
                                      const std::vector<std::string>& names) {
  std::vector<Json> records;
  for (const std::string& name : names) {
    const std::filesystem::path file = folder / ("fig" + name + ".json");
    if (!std::filesystem::exists(file)) {
      continue;
    }
    Json record = Json::parse(read_text_file(file), nullptr, false);
    if (record.is_object() && record.contains("claims")) {
      records.push_back(std::move(record));
    }
  }
  return records;
}

}  // namespace pagelab
