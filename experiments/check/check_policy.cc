#include "experiments/check/check_policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "experiments/check/isolated.h"

namespace pagelab {

namespace {

using Json = nlohmann::json;

constexpr std::int64_t most_attempts = 200;   ///< to find policies that go with each other
constexpr std::int64_t blocks_if_unfit = 64;  ///< where a pool cannot be fitted, since a policy fails at that
constexpr double silence_in_shrinking_s = 2;

Json to_json(const CaseCounts& counts) {
  return {{"cases", counts.cases},     {"excluded", counts.excluded}, {"requests", counts.requests},
          {"refused", counts.refused}, {"steps", counts.steps},       {"decisions", counts.decisions},
          {"asked", counts.asked}};
}

CaseCounts counts_from(const Json& json) {
  return {.cases = json.at("cases"),
          .excluded = json.at("excluded"),
          .requests = json.at("requests"),
          .refused = json.at("refused"),
          .steps = json.at("steps"),
          .decisions = json.at("decisions"),
          .asked = json.at("asked")};
}

Json to_json(const CaseVerdict& verdict) {
  return {{"fault", static_cast<int>(verdict.fault)}, {"text", verdict.text}};
}

/// What a child said last.
struct Heard {
  std::int64_t number = 0, attempt = 0;
  std::int64_t device_blocks = blocks_if_unfit;
  CaseCounts counts;
  CaseVerdict verdict;

  void take(std::string_view line) {
    const Json json = Json::parse(line);
    if (json.contains("number")) {
      number = json["number"];
      attempt = json["attempt"];
      device_blocks = json["device_blocks"];
    }
    if (json.contains("counts")) {
      counts = counts_from(json["counts"]);
    }
    if (json.contains("fault")) {
      verdict.fault = static_cast<Fault>(json["fault"].get<int>());
      verdict.text = json["text"];
    }
  }
};

/// The verdict on a child: its own, or what is said of how it ended.
CaseVerdict verdict_on(const IsolatedEnd& end, CaseVerdict own) {
  if (end.completed) {
    return own;
  }
  std::string errors = end.errors.substr(0, 1000);
  while (!errors.empty() && errors.back() == '\n') {
    errors.pop_back();
  }
  own.fault = end.silent ? Fault::silence : Fault::crash;
  own.text = errors.empty() ? end.how : fmt::format("{}; it had written:\n{}", end.how, errors);
  return own;
}

CaseVerdict judge(const CheckCase& tried, const PolicyRegistry& registry) {
  return run_case(experiment_of(tried, registry), registry, tried.overtakers);
}

/// Draws and judges one case, again where policies exclude each other.
CaseVerdict next_case(const CaseSource& source, const PolicyRegistry& registry, std::int64_t number,
                      CaseCounts& counts, const Say& say) {
  CaseVerdict verdict;
  for (std::int64_t attempt = 0; attempt < most_attempts; ++attempt) {
    CheckCase tried = source.draw(number, attempt);
    Json place = {{"number", number}, {"attempt", attempt}, {"device_blocks", blocks_if_unfit}};
    say(place.dump());
    try {
      source.fit_pools(tried);
    } catch (const InputError& error) {
      verdict = {.fault = Fault::excluded, .text = error.what(), .counts = {}};
      ++counts.excluded;
      continue;
    } catch (const std::exception&) {
      tried.device_blocks = blocks_if_unfit;  // the run will show what is wrong
    }
    place["device_blocks"] = tried.device_blocks;
    say(place.dump());
    verdict = judge(tried, registry);
    counts.add(verdict.counts);
    if (verdict.fault != Fault::excluded) {
      break;
    }
    ++counts.excluded;
  }
  return verdict;
}

void judge_all(const CaseSource& source, const PolicyRegistry& registry, std::int64_t cases, const Say& say) {
  CaseCounts counts;
  for (std::int64_t number = 0; number < cases; ++number) {
    const CaseVerdict verdict = next_case(source, registry, number, counts, say);
    if (verdict.fault != Fault::none) {
      say(to_json(verdict).dump(-1, ' ', false, Json::error_handler_t::replace));
      break;
    }
    if (number % 100 == 99) {
      say(Json{{"counts", to_json(counts)}}.dump());  // in case the next one ends the process
    }
  }
  say(Json{{"counts", to_json(counts)}}.dump());
}

CaseVerdict judge_isolated(const CheckCase& tried, const PolicyRegistry& registry, double silence_s) {
  Heard heard;
  const IsolatedEnd end = run_isolated(
      [&](const Say& say) {
        say(to_json(judge(tried, registry)).dump(-1, ' ', false, Json::error_handler_t::replace));
      },
      [&](std::string_view line) { heard.take(line); }, silence_s);
  return verdict_on(end, heard.verdict);
}

/// What two failures of one kind have in common: the words, not the numbers.
std::string words(const CaseVerdict& verdict) {
  const bool by_text = verdict.fault == Fault::contract || verdict.fault == Fault::failure ||
                       verdict.fault == Fault::crash || verdict.fault == Fault::excluded;
  std::string text = by_text ? verdict.text : "";
  std::erase_if(text, [](unsigned char c) { return std::isdigit(c) != 0; });
  return fmt::format("{} {}", static_cast<int>(verdict.fault), text);
}

CheckFailure shrunk(CheckCase failing, const CaseVerdict& seen, const PolicyRegistry& registry,
                    const CheckOptions& options) {
  CheckFailure failure{.fault = seen.fault, .text = seen.text, .number = 0, .smallest = std::move(failing)};
  const auto kept = [&](const std::string& axis, const std::string& key) {
    return std::ranges::any_of(options.checked.settings, [&](const CheckedChoice::Setting& s) {
      return s.axis == axis && s.key == key;
    });
  };
  const auto fails = [&](const CheckCase& candidate) {
    const CaseVerdict verdict = judge_isolated(candidate, registry, silence_in_shrinking_s);
    if (words(verdict) != words(seen)) {
      return false;
    }
    failure.text = verdict.text;
    return true;
  };
  if (!fails(failure.smallest)) {
    failure.text +=
        "\n  (Run by itself the case does not show it: the policy remembers things between runs.)";
    return failure;
  }
  failure.smallest = shrink(failure.smallest, registry, options.checked.axis, kept, fails, options.shrink);
  return failure;
}

}  // namespace

CheckReport check_policy(const PolicyRegistry& registry, const CheckOptions& options) {
  const CaseSource source(registry, options.checked, options.seed);
  Heard heard;
  const IsolatedEnd end =
      run_isolated([&](const Say& say) { judge_all(source, registry, options.cases, say); },
                   [&](std::string_view line) { heard.take(line); }, options.silence_s);
  CheckReport report{.counts = heard.counts, .failure = {}};
  const CaseVerdict seen = verdict_on(end, heard.verdict);
  if (seen.fault == Fault::none) {
    return report;
  }
  CheckCase failing = source.draw(heard.number, heard.attempt);
  failing.device_blocks = heard.device_blocks;
  if (seen.fault == Fault::excluded) {
    report.failure = {.fault = seen.fault, .text = seen.text, .number = heard.number, .smallest = failing};
    return report;
  }
  report.failure = shrunk(std::move(failing), seen, registry, options);
  report.failure->number = heard.number;
  return report;
}

}  // namespace pagelab
