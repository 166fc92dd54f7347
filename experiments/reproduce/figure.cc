#include "experiments/reproduce/figure.h"

#include <algorithm>
#include <charconv>
#include <set>

#include <fmt/format.h>

#include "core/config.h"
#include "core/error.h"
#include "experiments/reproduce/figure_keys.h"

namespace pagelab {

namespace {

namespace fs = std::filesystem;

ParameterSpec count_key(std::string name, std::int64_t standard, double minimum, std::string help) {
  return {.name = std::move(name), .default_value = standard, .help = std::move(help), .minimum = minimum};
}

ParameterSpec counts_key(std::string name, std::string help, std::optional<double> maximum = std::nullopt) {
  return {.name = std::move(name),
          .default_value = IntegerList(),
          .help = std::move(help),
          .minimum = 1,
          .maximum = maximum,
          .required = true};
}

ParameterSpec set_key() {
  return {.name = "set", .default_value = TextList(), .help = "key=value in place of the files'"};
}

std::vector<ParameterSpec> source_specs() {
  return {{.name = "experiment",
           .default_value = TextList(),
           .help = "files of the paper's folder, each laid over those before it"},
          text_key("fallback", "instead of the file whose trace is not there"),
          set_key()};
}

std::vector<ParameterSpec> with_source(std::vector<ParameterSpec> specs) {
  const std::vector<ParameterSpec> source = source_specs();
  specs.insert(specs.end(), source.begin(), source.end());
  return specs;
}

/// A file of the paper's folder; empty stays empty.
fs::path in_paper(const fs::path& paper, const std::string& file) {
  return file.empty() ? fs::path() : (paper / file).lexically_normal();
}

RunSource source_of(const Parameters& p, const fs::path& paper) {
  RunSource source{.experiment = {}, .fallback = in_paper(paper, p.text("fallback")), .set = p.texts("set")};
  for (const std::string& file : p.texts("experiment")) {
    source.experiment.push_back(in_paper(paper, file));
  }
  return source;
}

/// Names that become folders and cells of CSV files.
void require_plain(const ConfigTable& table, std::string_view key, std::string_view name) {
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+";
  if (name.empty() || name.front() == '.' || name.find_first_not_of(allowed) != std::string_view::npos) {
    table.fail(key, fmt::format("must consist of letters, digits, '.', '_', '-' and '+'; found '{}'", name));
  }
}

void read_root(Figure& figure, const ConfigTable& root, const fs::path& paper) {
  const std::vector<std::string> sections = {"sweep", "points", "kernel", "swap", "quick", "series", "claim"};
  ParameterSpec x_scale = {.name = "x_scale",
                           .default_value = "linear",
                           .help = "of the x axis",
                           .choices = {"linear", "log", "category"}};
  ParameterSpec y_scale = {
      .name = "y_scale", .default_value = "linear", .help = "of the y axis", .choices = {"linear", "log"}};
  ParameterSpec kind = {.name = "kind",
                        .default_value = "sweep",
                        .help = "what makes the points",
                        .choices = {"sweep", "kernel", "swap"}};
  ParameterSpec y_max = {
      .name = "y_max", .default_value = 0.0, .help = "the y axis ends here; 0: with the data", .minimum = 0};
  const Parameters p =
      root.resolve({text_key("title", "of the figure", true),
                    text_key("measured", "what is measured, simulated, taken from the paper", true), kind,
                    text_key("x_label", "of the x axis"), text_key("y_label", "of the y axis", true), x_scale,
                    y_scale, y_max, text_key("published", "CSV file with system,x,y")},
                   sections);
  figure.title = p.text("title");
  figure.measured = p.text("measured");
  figure.kind = p.text("kind");
  figure.x = {p.text("x_label"), p.text("x_scale"), std::nullopt};
  figure.y = {p.text("y_label"), p.text("y_scale"),
              p.real("y_max") > 0 ? std::optional(p.real("y_max")) : std::nullopt};
  figure.published = in_paper(paper, p.text("published"));
  for (const char* other : {"sweep", "kernel", "swap"}) {
    if (other != figure.kind && root.has(other)) {
      root.fail(other, fmt::format("does not belong to a figure of kind '{}'", figure.kind));
    }
  }
}

ParameterSpec factor_key() {
  return {.name = "y_factor", .default_value = 1.0, .help = "y is multiplied by this"};
}
ParameterSpec offset_key() {
  return {.name = "y_offset", .default_value = 0.0, .help = "and this added"};
}

SweepFigure::Category read_category(const ConfigTable& table, const SweepFigure& sweep,
                                    const fs::path& paper) {
  const Parameters p = table.resolve(with_source({text_key("y", "number of summary.json")}), {"x"});
  const std::vector<FigureX> x = read_x(table, "x");
  if (x.size() != 1) {
    table.fail("x", "must be one text or number, the category's name");
  }
  require_plain(table, "x", x.front().text);
  SweepFigure::Category category{.x = x.front(), .y = sweep.y, .source = source_of(p, paper)};
  if (!p.text("y").empty()) {
    category.y = parse_summary_value(p.text("y"), sweep.y.factor, sweep.y.offset);
    require_in_summary(category.y, table, "y");
  } else if (sweep.y.paths.empty()) {
    table.fail("y", "is missing, and so is 'sweep.y'; set one of them");
  }
  return category;
}

SweepFigure read_sweep(const ConfigTable& table, const fs::path& paper) {
  const Parameters p =
      table.resolve(with_source({text_key("x", "key of the experiment that x sets"),
                                 text_key("y", "number of summary.json"), factor_key(), offset_key()}),
                    {"category"});
  SweepFigure sweep{.x_key = p.text("x"), .y = {}, .source = source_of(p, paper), .categories = {}};
  sweep.y = {.paths = {}, .factor = p.real("y_factor"), .offset = p.real("y_offset")};
  if (!p.text("y").empty()) {
    sweep.y = parse_summary_value(p.text("y"), sweep.y.factor, sweep.y.offset);
    require_in_summary(sweep.y, table, "y");
  }
  for (const ConfigTable& category : table.list("category")) {
    sweep.categories.push_back(read_category(category, sweep, paper));
  }
  if (sweep.x_key.empty() == sweep.categories.empty()) {
    table.fail("x", "or a list of [[sweep.category]] is needed, and not both");
  }
  if (sweep.categories.empty() && sweep.y.paths.empty()) {
    table.fail("y", "is missing; it names a number of summary.json");
  }
  return sweep;
}

KernelFigure read_kernel(const ConfigTable& table) {
  const Parameters p = table.resolve(
      {counts_key("contexts", "tokens; the x values", 256), counts_key("batches", "sequences in one call"),
       count_key("heads", 40, 1, "of queries and of K and V"),
       count_key("head_size", 128, 64, "64 to 256, a multiple of 8"),
       count_key("block_size", 16, 1, "slots of a block of the paged layout"),
       count_key("threads", 0, 0, "0: all cores"), text_key("paged", "name of the paged series", true),
       text_key("contiguous", "name of the contiguous series", true)});
  const auto small = [&p](const char* key) { return static_cast<std::int32_t>(p.integer(key)); };
  return {.contexts = p.integers("contexts"),
          .batches = p.integers("batches"),
          .heads = small("heads"),
          .head_size = small("head_size"),
          .block_size = small("block_size"),
          .threads = small("threads"),
          .paged = p.text("paged"),
          .contiguous = p.text("contiguous")};
}

SwapFigure read_swap(const ConfigTable& table, const fs::path& paper) {
  const Parameters p = table.resolve(with_source({count_key("tokens", 256, 1, "swapped or recomputed"),
                                                  counts_key("block_sizes", "tokens; the x values")}));
  return {source_of(p, paper), Tokens(p.integer("tokens")), p.integers("block_sizes")};
}

/// The points of a series: [points], or with `quick` [quick.points] where it has them.
std::vector<FigureX> points_of(const ConfigTable& root, const std::string& series, bool quick) {
  const ConfigTable quick_points = root.section("quick").section("points");
  const ConfigTable points = root.section("points");
  const ConfigTable& table = quick && quick_points.has(series) ? quick_points : points;
  std::vector<FigureX> xs = read_x(table, series);
  if (xs.empty()) {
    table.fail(series, "is missing; it lists the x of the series");
  }
  return xs;
}

FigureSeries read_series(const ConfigTable& table, const fs::path& paper) {
  const Parameters p = table.resolve(with_source(
      {text_key("system", "file of systems/ without .toml", true),
       text_key("name", "in CSV files, where it is not the system's"), text_key("label", "for people")}));
  FigureSeries series{.name = p.text("name").empty() ? p.text("system") : p.text("name"),
                      .label = p.text("label"),
                      .system = paper / "systems" / (p.text("system") + ".toml"),
                      .source = source_of(p, paper),
                      .points = {}};
  require_plain(table, p.text("name").empty() ? "system" : "name", series.name);
  if (series.label.empty()) {
    series.label = series.name;
  }
  if (!fs::exists(series.system)) {
    std::vector<std::string> systems;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(paper / "systems", error)) {
      systems.push_back(entry.path().stem().string());
    }
    std::ranges::sort(systems);
    table.fail("system",
               fmt::format("names {}, which is not there; {}", series.system.lexically_normal().string(),
                           valid_text(p.text("system"), "systems", systems)));
  }
  return series;
}

/// Keys of [points] or [quick.points] that belong to no series are mistakes.
void check_points(const ConfigTable& points, const std::vector<std::string>& names) {
  points.resolve({}, names);
}

void read_sweep_series(Figure& figure, const ConfigTable& root, const fs::path& paper, bool quick) {
  std::vector<std::string> names;
  for (const ConfigTable& table : root.list("series")) {
    FigureSeries series = read_series(table, paper);
    if (std::ranges::find(names, series.name) != names.end()) {
      table.fail("name", fmt::format("'{}' is taken by another series", series.name));
    }
    if (figure.sweep.categories.empty()) {
      series.points = points_of(root, series.name, quick);
    } else {
      for (const SweepFigure::Category& category : figure.sweep.categories) {
        series.points.push_back(category.x);
      }
    }
    names.push_back(series.name);
    figure.series.push_back(std::move(series));
  }
  if (names.empty()) {
    root.fail("series", "is missing; a sweep has one [[series]] or more");
  }
  const std::vector<std::string> with_points = figure.sweep.categories.empty() ? names : TextList();
  check_points(root.section("points"), with_points);
  check_points(root.section("quick").section("points"), with_points);
}

void add_series(Figure& figure, const std::string& name, const std::string& label,
                const IntegerList& points) {
  FigureSeries series{.name = name, .label = label, .system = {}, .source = {}, .points = {}};
  for (const std::int64_t x : points) {
    series.points.push_back(figure_x(static_cast<double>(x)));
  }
  figure.series.push_back(std::move(series));
}

void read_kind(Figure& figure, const ConfigTable& root, const fs::path& paper, bool quick) {
  if (figure.kind == "sweep") {
    figure.sweep = read_sweep(root.section("sweep"), paper);
    read_sweep_series(figure, root, paper, quick);
    return;
  }
  for (const char* other : {"series", "points"}) {
    if (root.has(other)) {
      root.fail(other, fmt::format("does not belong to a figure of kind '{}'", figure.kind));
    }
  }
  if (figure.kind == "kernel") {
    figure.kernel = read_kernel(root.section("kernel"));
    for (const std::int64_t batch : figure.kernel.batches) {
      for (const bool paged : {true, false}) {
        const std::string& name = paged ? figure.kernel.paged : figure.kernel.contiguous;
        add_series(figure, fmt::format("{}_bs{}", name, batch),
                   fmt::format("{} ({}), batch {}", paged ? "paged" : "contiguous", name, batch),
                   figure.kernel.contexts);
      }
    }
  } else {
    figure.swap = read_swap(root.section("swap"), paper);
    add_series(figure, "recompute", "recompute", figure.swap.block_sizes);
    add_series(figure, "swap_in", "swap in", figure.swap.block_sizes);
    add_series(figure, "swap_out", "swap out", figure.swap.block_sizes);
    add_series(figure, "swap_in_out", "swap out and in", figure.swap.block_sizes);
  }
}

void read_quick(Figure& figure, const ConfigTable& table, bool quick) {
  const Parameters p = table.resolve({set_key()}, {"points"});
  if (quick) {
    figure.quick_set = p.texts("set");
  }
}

void read_claims(Figure& figure, const ConfigTable& root) {
  std::vector<std::string> series;
  for (const FigureSeries& one : figure.series) {
    series.push_back(one.name);
  }
  for (const ConfigTable& table : root.list("claim")) {
    figure.claims.push_back(read_claim(table, series));
  }
}

/// "12a" comes after "2": numbers before the rest of the name decide first.
struct FigureOrder {
  static std::pair<int, std::string_view> key(std::string_view name) {
    int number = 0;
    const char* rest = std::from_chars(name.data(), name.data() + name.size(), number).ptr;
    return {number, name.substr(static_cast<std::size_t>(rest - name.data()))};
  }
  bool operator()(const std::string& a, const std::string& b) const { return key(a) < key(b); }
};

}  // namespace

std::vector<FigureCurve> Figure::empty_curves() const {
  std::vector<FigureCurve> curves;
  for (const FigureSeries& one : series) {
    FigureCurve& curve = curves.emplace_back(FigureCurve{one.name, one.label, {}});
    for (const FigureX& point : one.points) {
      curve.at(point);
    }
  }
  return curves;
}

std::vector<std::string> figure_names(const fs::path& paper) {
  const fs::path folder = paper / "figures";
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".toml") {
      names.push_back(entry.path().stem().string());
    }
  }
  if (names.empty()) {
    throw InputError(
        fmt::format("{}: no figures there; a paper's folder has figures/NAME.toml", folder.string()));
  }
  std::ranges::sort(names, FigureOrder());
  return names;
}

Figure read_figure(const fs::path& paper, const std::string& name, bool quick) {
  const std::vector<std::string> names = figure_names(paper);
  if (std::ranges::find(names, name) == names.end()) {
    throw InputError("figure " + unknown_text(name, "figures", names));
  }
  Figure figure;
  figure.name = name;
  figure.file = paper / "figures" / (name + ".toml");
  const ConfigTable root = read_config(figure.file);
  read_root(figure, root, paper);
  read_kind(figure, root, paper, quick);
  read_quick(figure, root.section("quick"), quick);
  read_claims(figure, root);
  return figure;
}

}  // namespace pagelab
