#include "experiments/reproduce/figure_page.h"

#include <fmt/format.h>

#include "experiments/build_info.h"

namespace pagelab {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view style = R"(
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
  h1, h2 { line-height: 1.2; }
  h2 { margin-top: 3rem; border-top: 1px solid #ccc; padding-top: 1.5rem; }
  img { max-width: 100%; }
  table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
  td, th { text-align: left; vertical-align: top; padding: 0.3rem 0.8rem 0.3rem 0; border-bottom: 1px solid #eee; }
  .holds { color: #00663f; font-weight: 600; } .fails { color: #a83a00; font-weight: 600; }
  .measured, .note { color: #555; } .quick { color: #a00000; font-weight: 600; }
)";

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string text_of(const Json& json, const char* key) {
  return escaped(json[key].get<std::string>());
}

std::string verdict_cell(bool holds) {
  return fmt::format("<td class=\"{0}\">{0}</td>", holds ? "holds" : "fails");
}

std::string claims_table(const Json& claims) {
  if (claims.empty()) {
    return "<p class=\"note\">No claims of the paper are checked on this figure.</p>\n";
  }
  std::string rows;
  for (const Json& claim : claims) {
    rows += fmt::format("<tr>{}<td>{}</td><td>{}</td></tr>\n", verdict_cell(claim["holds"].get<bool>()),
                        text_of(claim, "text"), text_of(claim, "detail"));
  }
  return "<table>\n<tr><th></th><th>The paper</th><th>Here</th></tr>\n" + rows + "</table>\n";
}

std::string seeds_text(const Json& record) {
  const auto seeds = record["seeds"].get<std::int64_t>();
  if (record["kind"] != "sweep") {
    return "";
  }
  return seeds == 1 ? " One seed." : fmt::format(" Mean and range of {} seeds.", seeds);
}

std::string section(const Json& record, const std::filesystem::path& folder) {
  const std::string name = text_of(record, "figure");
  const std::string stem = "fig" + name;
  std::string html = fmt::format("<h2 id=\"{}\">Figure {}: {}</h2>\n", stem, name, text_of(record, "title"));
  if (record["quick"].get<bool>()) {
    html +=
        "<p class=\"quick\">Quick: shortened runs. The numbers are not those of the paper's workload.</p>\n";
  }
  html += fmt::format("<p class=\"measured\">{}{}</p>\n", text_of(record, "measured"), seeds_text(record));
  for (const Json& note : record["notes"]) {
    html += fmt::format("<p class=\"note\">{}</p>\n", escaped(note.get<std::string>()));
  }
  if (std::filesystem::exists(folder / (stem + ".svg"))) {
    html += fmt::format("<img src=\"{0}.svg\" alt=\"Plot of {0}.csv\">\n", stem);
  } else {
    html += "<p class=\"note\">No plot was drawn.</p>\n";
  }
  html += fmt::format("<p class=\"note\">Numbers: <a href=\"{0}.csv\">{0}.csv</a></p>\n", stem);
  return html + claims_table(record["claims"]);
}

struct Count {
  int holds = 0;
  int all = 0;
};

Count count_of(const Json& claims) {
  Count count;
  for (const Json& claim : claims) {
    count.holds += claim["holds"].get<bool>() ? 1 : 0;
    ++count.all;
  }
  return count;
}

std::string overview(std::span<const Json> records) {
  std::string rows;
  Count sum;
  for (const Json& record : records) {
    const Count count = count_of(record["claims"]);
    sum.holds += count.holds;
    sum.all += count.all;
    rows += fmt::format("<tr><td><a href=\"#fig{0}\">{0}</a></td><td>{1}</td><td>{2} of {3}</td></tr>\n",
                        text_of(record, "figure"), text_of(record, "title"), count.holds, count.all);
  }
  return fmt::format(
      "<p>{} of {} claims hold. In the plots lines and bars are ours, with the range over the seeds; points "
      "are the "
      "paper's.</p>\n<table>\n<tr><th>Figure</th><th></th><th>Claims that hold</th></tr>\n{}</table>\n",
      sum.holds, sum.all, rows);
}

}  // namespace

std::string figure_page(const std::string& paper, std::span<const Json> records,
                        const std::filesystem::path& folder) {
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{0}</title>\n"
      "<style>{1}</style>\n</head>\n<body>\n<h1>{0}, reproduced</h1>\n<p class=\"note\">pagelab {2}, "
      "{3}</p>\n",
      escaped(paper), style, escaped(build_version()), escaped(build_commit()));
  html += overview(records);
  for (const Json& record : records) {
    html += section(record, folder);
  }
  return html + "</body>\n</html>\n";
}

}  // namespace pagelab
