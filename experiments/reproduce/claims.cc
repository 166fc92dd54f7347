#include "experiments/reproduce/claims.h"

#include <algorithm>

#include "core/error.h"
#include "experiments/reproduce/claim_judges.h"
#include "experiments/reproduce/figure_keys.h"

namespace pagelab {

struct ClaimKind {
  std::string name;
  std::vector<ParameterSpec> parameters;
  ClaimJudge judge;
  bool takes_x = false;
  bool takes_to_x = false;
};

namespace {

using Json = nlohmann::ordered_json;

/// A real key that may be left out.
ParameterSpec optional_real(std::string name, std::string help) {
  return {.name = std::move(name), .default_value = absent_number, .help = std::move(help)};
}

/// What a number is compared with: `published` with a tolerance, or bounds.
std::vector<ParameterSpec> with_comparison(std::vector<ParameterSpec> specs) {
  specs.push_back(optional_real("published", "what the paper shows or says"));
  specs.push_back({.name = "tolerance",
                   .default_value = 0.0,
                   .help = "largest difference from `published`, relative to it",
                   .minimum = 0});
  specs.push_back({.name = "absolute", .default_value = false, .help = "the tolerance is not relative"});
  specs.push_back(optional_real("at_least", "the smallest value that holds"));
  specs.push_back(optional_real("at_most", "the largest value that holds"));
  return specs;
}

ParameterSpec level_spec(bool required) {
  return {
      .name = "level", .default_value = absent_number, .help = "of y that is crossed", .required = required};
}

ParameterSpec interpolation_spec() {
  return {.name = "interpolation",
          .default_value = "linear",
          .help = "of y between two points",
          .choices = {"linear", "log"}};
}

const std::vector<ClaimKind>& claim_kinds() {
  const ParameterSpec series = text_key("series", "whose curve", true);
  const ParameterSpec x_min = optional_real("x_min", "only from here");
  const ParameterSpec x_max = optional_real("x_max", "only up to here");
  static const std::vector<ClaimKind> kinds = {
      {"order",
       {{.name = "order", .default_value = TextList(), .help = "series, the best first", .required = true},
        {.name = "better", .default_value = "lower", .help = "which y", .choices = {"lower", "higher"}},
        {.name = "tolerance",
         .default_value = 0.0,
         .help = "values closer than that are equal",
         .minimum = 0},
        x_min,
        x_max},
       judge_order},
      {"crossing", with_comparison({series, level_spec(true), interpolation_spec()}), judge_crossing},
      {"value", with_comparison({series}), judge_value, true},
      {"ratio",
       with_comparison({text_key("of", "series", false), text_key("to", "series that divides", false),
                        text_key("series", "one series, at x and at to_x", false), level_spec(false),
                        interpolation_spec(), x_min, x_max}),
       judge_ratio, true, true},
      {"minimum_in", {series}, judge_minimum, true},
      {"crosses",
       {{.name = "series", .default_value = TextList(), .help = "two of them", .required = true},
        x_min,
        x_max},
       judge_crosses},
  };
  return kinds;
}

void require_series(const ConfigTable& table, const std::string& key, const std::string& name,
                    std::span<const std::string> series) {
  if (std::ranges::find(series, name) == series.end()) {
    table.fail(key, unknown_text(name, "series of this figure", {series.begin(), series.end()}));
  }
}

/// Every series that a claim names must be one of the figure's.
void check_series(const ConfigTable& table, const Claim& claim, std::span<const std::string> series) {
  for (const Parameters::Entry& entry : claim.parameters) {
    const std::string& key = entry.spec.name;
    if (key != "series" && key != "of" && key != "to" && key != "order") {
      continue;
    }
    if (const auto* names = std::get_if<TextList>(&entry.value)) {
      for (const std::string& name : *names) {
        require_series(table, key, name, series);
      }
    } else if (const std::string& name = std::get<std::string>(entry.value); !name.empty()) {
      require_series(table, key, name, series);
    }
  }
}

void check_ratio(const ConfigTable& table, const Claim& claim) {
  const bool has_level = claim.parameters.real("level") != absent_number;
  const bool has_pair = !claim.parameters.text("of").empty() && !claim.parameters.text("to").empty();
  if (!claim.parameters.text("series").empty()) {
    if (has_level || claim.x.size() != 1 || !claim.to_x) {
      table.fail("series", "alone needs x and to_x");
    }
  } else if (!has_pair || has_level == (claim.x.size() == 1)) {
    table.fail("of", "and 'claim.to' are both needed, with one of level and x");
  }
}

void check(const ConfigTable& table, const Claim& claim) {
  const std::string& kind = claim.kind->name;
  if (claim.parameters.has("published") && !given_number(claim, "published") &&
      !given_number(claim, "at_least") && !given_number(claim, "at_most")) {
    table.fail("published", "is missing, and so are 'claim.at_least' and 'claim.at_most'; set one of them");
  }
  if (given_number(claim, "published") == 0.0 && !claim.parameters.flag("absolute")) {
    table.fail("published", "of 0 needs absolute = true; nothing is relative to it");
  }
  if (kind == "ratio") {
    check_ratio(table, claim);
  }
  if (kind == "value" && claim.x.size() != 1) {
    table.fail("x", "must be one number or one text");
  }
  if (kind == "minimum_in" && claim.x.empty()) {
    table.fail("x", "must be the numbers at which the smallest value may lie");
  }
  if (kind == "crosses" && claim.parameters.texts("series").size() != 2) {
    table.fail("series", "must be two series");
  }
  if (kind == "order" && claim.parameters.texts("order").size() < 2) {
    table.fail("order", "must be two series or more");
  }
}

const ClaimKind& kind_of(const ConfigTable& table) {
  ParameterSpec spec{.name = "kind", .default_value = "", .help = "what is checked", .required = true};
  for (const ClaimKind& kind : claim_kinds()) {
    spec.choices.push_back(kind.name);
  }
  const std::string name = table.text(spec);
  return *std::ranges::find(claim_kinds(), name, &ClaimKind::name);
}

}  // namespace

std::vector<FigureX> read_x(const ConfigTable& table, const std::string& key) {
  const auto value = table.written(key);
  if (!value) {
    if (table.has(key)) {
      table.fail(key, "must be a number, a text or a list of numbers");
    }
    return {};
  }
  std::vector<FigureX> xs;
  if (const auto* text = std::get_if<std::string>(&*value)) {
    xs.push_back(figure_x(*text));
  } else if (const auto* integer = std::get_if<std::int64_t>(&*value)) {
    xs.push_back(figure_x(static_cast<double>(*integer)));
  } else if (const auto* real = std::get_if<double>(&*value)) {
    xs.push_back(figure_x(*real));
  } else if (const auto* integers = std::get_if<IntegerList>(&*value)) {
    for (const std::int64_t number : *integers) {
      xs.push_back(figure_x(static_cast<double>(number)));
    }
  } else if (const auto* reals = std::get_if<RealList>(&*value)) {
    for (const double number : *reals) {
      xs.push_back(figure_x(number));
    }
  } else {
    table.fail(key, "must be a number, a text or a list of numbers");
  }
  return xs;
}

Claim read_claim(const ConfigTable& table, std::span<const std::string> series) {
  Claim claim;
  claim.kind = &kind_of(table);
  std::vector<ParameterSpec> specs = {text_key("text", "what the paper says", true),
                                      text_key("kind", "what is checked", true)};
  specs.insert(specs.end(), claim.kind->parameters.begin(), claim.kind->parameters.end());
  std::vector<std::string> places;
  if (claim.kind->takes_x) {
    places.emplace_back("x");
    claim.x = read_x(table, "x");
  }
  if (claim.kind->takes_to_x) {
    places.emplace_back("to_x");
    const std::vector<FigureX> to = read_x(table, "to_x");
    claim.to_x = to.size() == 1 ? std::optional(to.front()) : std::nullopt;
  }
  claim.parameters = table.resolve(specs, places);
  claim.text = claim.parameters.text("text");
  check_series(table, claim, series);
  check(table, claim);
  return claim;
}

Verdict judge(const Claim& claim, std::span<const FigureCurve> curves) {
  return claim.kind->judge(claim, curves);
}

Json verdict_json(const Claim& claim, const Verdict& verdict) {
  const auto number = [](const std::optional<double>& value) { return value ? Json(*value) : Json(); };
  return {{"text", claim.text},
          {"kind", claim.kind->name},
          {"holds", verdict.holds},
          {"ours", number(verdict.ours)},
          {"published", number(given_number(claim, "published"))},
          {"tolerance", number(given_number(claim, "tolerance"))},
          {"detail", verdict.detail}};
}

}  // namespace pagelab
