#include "experiments/check/check_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "core/config.h"
#include "core/error.h"
#include "experiments/output_file.h"

namespace pagelab {

namespace {

/// The specs of an axis's section as an experiment has it: `name`, then what that policy declares.
std::vector<ParameterSpec> specs_of(const PolicyRegistry::AxisEntry& axis, const ConfigTable& section,
                                    const PolicyRegistry& registry) {
  ParameterSpec name{
      .name = "name", .default_value = std::string(axis.standard), .help = std::string(axis.question)};
  for (const PolicyEntry& policy : axis.policies) {
    name.choices.push_back(policy.info.name);
  }
  std::vector<ParameterSpec> specs = registry.find(axis.name, section.text(name)).info.parameters;
  for (ParameterSpec& spec : specs) {
    spec.required = false;
  }
  specs.insert(specs.begin(), name);
  return specs;
}

std::string numbers(const std::map<std::string, std::int64_t>& named) {
  std::string text;
  for (const auto& [name, number] : named) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, number);
  }
  return text.empty() ? "none" : text;
}

std::string covered(const std::string& axis, const CaseCounts& counts) {
  std::string text =
      fmt::format("  requests      {}, of them {} refused as too large\n", counts.requests, counts.refused);
  text += fmt::format("  steps         {}\n", counts.steps);
  text += fmt::format("  decisions     {}\n", numbers(counts.decisions));
  if (const auto asked = counts.asked.find(axis); asked != counts.asked.end() && asked->second > 0) {
    text += fmt::format("  asked         {} times by the scheduler\n", asked->second);
  }
  text += fmt::format("  combinations  {} refused and drawn again, since their policies exclude each other\n",
                      counts.excluded);
  return text;
}

std::string advice(Fault fault, const std::string& run) {
  switch (fault) {
    case Fault::contract:
    case Fault::failure:
      return fmt::format("{} ends with the same error; its decisions.jsonl tells what came before.", run);
    case Fault::determinism:
      return fmt::format(
          "{} twice leaves two folders whose decisions.jsonl or steps.csv differ. A policy's answers may "
          "depend "
          "on what it is passed and on its parameters alone: on no clock, address or random device.",
          run);
    case Fault::progress:
      return fmt::format(
          "{} does not end; stop it with Ctrl-C and see in its decisions.jsonl what is done again and again.",
          run);
    case Fault::starvation:
      return fmt::format(
          "{} shows in its requests.csv how long request 1 waits. Bound the waiting, or do not declare "
          "bounds_waiting.",
          run);
    case Fault::silence:
      return fmt::format("{} stops at the question; a debugger shows where.", run);
    case Fault::crash:
      return fmt::format(
          "{} ends in the same way. If it ends in the policy's own code, that is where to look; if a "
          "policy's "
          "answer made the engine abort, that is a bug of pagelab: report it with this experiment.",
          run);
    case Fault::content:
    case Fault::conservation:
    case Fault::tokens:
      return fmt::format(
          "No answer of a policy may cause this: unless the policy finds or drops tokens itself (sharing, "
          "retention), it is a bug of pagelab; report it with this experiment. {} runs it.",
          run);
    case Fault::none:
    case Fault::excluded:
      return "Choose the policies of other axes that it goes with: --set policy.AXIS.name=NAME.";
  }
  return {};
}

std::string heading_of(const CheckCommandOptions& options, const CheckFailure& failure) {
  return fmt::format("The smallest case found that shows what is wrong with {}: {}.\n{}", options.which,
                     text_of(failure.fault), failure.text);
}

/// What is wrong, as the policy's report goes on.
std::string wrong_with(const std::string& which, const CheckFailure& failure) {
  const bool other =
      failure.fault == Fault::contract && !failure.text.starts_with(fmt::format("policy {},", which));
  return other ? "a policy beside it broke its contract" : std::string(text_of(failure.fault));
}

/// Where a case, wherever it lies, finds the plugins.
std::vector<std::string> plugin_paths(const CheckCommandOptions& options) {
  std::vector<std::string> paths;
  for (const std::string& file : options.plugins) {
    paths.push_back(std::filesystem::absolute(file).string());
  }
  return paths;
}

std::string failure_text(const CheckCommandOptions& options, const CheckFailure& failure) {
  std::string text =
      fmt::format("{}: FAILED in case {} of {} (seed {}): {}\n  {}\n", options.which, failure.number,
                  options.cases, options.seed, wrong_with(options.which, failure), failure.text);
  if (failure.fault == Fault::excluded) {
    return text + advice(failure.fault, "") + "\n";
  }
  const std::string file = options.out.empty() ? "case.toml" : options.out.string();
  text += fmt::format("Smallest case found: {} request{} on a pool of {} x {} slots.\n{}\n",
                      failure.smallest.requests.size(), failure.smallest.requests.size() == 1 ? "" : "s",
                      failure.smallest.device_blocks, failure.smallest.block_size,
                      advice(failure.fault, fmt::format("`pagelab run {}`", file)));
  if (!options.out.empty()) {
    return text + fmt::format("The case is in {}.\n", file);
  }
  return text + fmt::format("The case, to be saved as {} (--out does so):\n\n{}", file,
                            case_toml(failure.smallest, heading_of(options, failure), plugin_paths(options)));
}

}  // namespace

CheckedChoice checked_choice(const PolicyRegistry& registry, const std::string& which,
                             const std::vector<std::string>& settings) {
  const std::size_t slash = which.find('/');
  if (slash == std::string::npos) {
    throw InputError(fmt::format("'{}' names no policy; write AXIS/NAME, such as batching/mixed", which));
  }
  CheckedChoice choice{which.substr(0, slash), which.substr(slash + 1)};
  registry.find(choice.axis, choice.name);
  std::vector<std::string> overrides = {fmt::format("policy.{}.name={}", choice.axis, choice.name)};
  for (const std::string& setting : settings) {
    const bool own = setting.substr(0, setting.find('=')).find('.') == std::string::npos;
    overrides.push_back(own ? fmt::format("policy.{}.{}", choice.axis, setting) : setting);
  }
  const ConfigTable root = parse_config("", "settings.toml", overrides);
  root.resolve({}, {"policy"});
  std::vector<std::string> axes;
  for (const PolicyRegistry::AxisEntry& axis : registry.axes()) {
    axes.emplace_back(axis.name);
  }
  const ConfigTable policies = root.section("policy");
  policies.resolve({}, axes);
  for (const PolicyRegistry::AxisEntry& axis : registry.axes()) {
    const ConfigTable section = policies.section(axis.name);
    const std::vector<std::string> keys = section.keys();
    if (keys.empty()) {
      continue;
    }
    const std::string name(axis.name);
    for (const Parameters::Entry& entry : section.resolve(specs_of(axis, section, registry))) {
      const bool written = std::ranges::find(keys, entry.spec.name) != keys.end();
      if (entry.spec.name == "name" ? name != choice.axis : written) {
        choice.settings.push_back({name, entry.spec.name, entry.value});
      }
    }
    if (const auto now = section.text({.name = "name", .default_value = std::string(axis.standard)});
        name == choice.axis && now != choice.name) {
      throw InputError(fmt::format("--set policy.{}.name={}, but {} is to be checked", name, now, which));
    }
  }
  return choice;
}

std::string report_text(const CheckCommandOptions& options, const CheckReport& report) {
  const std::string axis = options.which.substr(0, options.which.find('/'));
  std::string text;
  if (report.failure) {
    text = failure_text(options, *report.failure);
    return text + fmt::format("\nCovered before that: {} cases\n{}", report.counts.cases,
                              covered(axis, report.counts));
  }
  return fmt::format("{}: nothing wrong in {} cases (seed {})\n{}", options.which, report.counts.cases,
                     options.seed, covered(axis, report.counts));
}

int check_command(const PolicyRegistry& registry, const CheckCommandOptions& options) {
  const CheckReport report =
      check_policy(registry, {.checked = checked_choice(registry, options.which, options.settings),
                              .cases = options.cases,
                              .seed = options.seed});
  if (report.failure && report.failure->fault != Fault::excluded && !options.out.empty()) {
    OutputFile file(options.out);
    file.write(
        case_toml(report.failure->smallest, heading_of(options, *report.failure), plugin_paths(options)));
    file.complete();
  }
  fmt::print("{}", report_text(options, report));
  return report.failure ? 1 : 0;
}

}  // namespace pagelab
