#include "experiments/check/check_case.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/config.h"

namespace pagelab {

namespace {

constexpr std::string_view method_name(Sampling::Method method) {
  switch (method) {
    case Sampling::Method::greedy:
      return "greedy";
    case Sampling::Method::random:
      return "random";
    case Sampling::Method::beam:
      return "beam";
  }
  return "greedy";
}

/// "key = [a, b, ...]" of one number of every request; nothing if all are `standard`.
std::string list_line(const CheckCase& tried, std::string_view key, std::int64_t CheckedRequest::*number,
                      std::optional<std::int64_t> standard = {}) {
  std::vector<std::int64_t> values;
  std::ranges::transform(tried.requests, std::back_inserter(values),
                         [&](const CheckedRequest& r) { return r.*number; });
  if (standard && std::ranges::all_of(values, [&](std::int64_t v) { return v == *standard; })) {
    return {};
  }
  return fmt::format("{} = [{}]\n", key, fmt::join(values, ", "));
}

std::string arrival_lines(const CheckCase& tried) {
  const auto late = [](const CheckedRequest& r) { return r.arrival_ms > 0 || r.client > 0; };
  if (std::ranges::none_of(tried.requests, late)) {
    return {};
  }
  std::vector<std::string> times;
  for (const CheckedRequest& r : tried.requests) {
    times.push_back(toml_text(static_cast<double>(r.arrival_ms) / 1000));
  }
  return fmt::format("arrival_s = [{}]\n{}\n[workload.arrivals]\nkind = \"trace\"\n", fmt::join(times, ", "),
                     list_line(tried, "client", &CheckedRequest::client, 0));
}

std::string policy_lines(const CheckedPolicy& policy) {
  std::string text = fmt::format("\n[policy.{}]\nname = {}\n", policy.axis, toml_text(policy.name));
  for (const auto& [key, value] : policy.parameters) {
    text += fmt::format("{} = {}\n", key, toml_text(value));
  }
  return text;
}

std::string commented(std::string_view heading) {
  std::string text;
  while (!heading.empty()) {
    const std::size_t end = heading.find('\n');
    text += fmt::format("# {}\n", heading.substr(0, end));
    heading.remove_prefix(end == std::string_view::npos ? heading.size() : end + 1);
  }
  return text;
}

}  // namespace

std::string case_toml(const CheckCase& tried, std::string_view heading,
                      std::span<const std::string> plugins) {
  std::string text = commented(heading);
  text += fmt::format("name = \"check\"\nseed = {}\n", tried.seed);
  if (!plugins.empty()) {
    text +=
        fmt::format("plugins = {}\n", toml_text(std::vector<std::string>(plugins.begin(), plugins.end())));
  }
  text += "\n[model]\nshape = \"opt-125m\"  # not run\n\n";
  text += fmt::format(
      "[device]\nkind = \"check\"  # stores the tokens and checks every read\nblock_size = {}\ndevice_blocks "
      "= "
      "{}\nhost_blocks = {}\nvocabulary = {}\n\n[workload]\n",
      tried.block_size, tried.device_blocks, tried.host_blocks, tried.vocabulary);
  if (tried.prefix > 0) {
    text += fmt::format("prefix_tokens = {}\n", tried.prefix);
  }
  text += "\n[workload.lengths]\nkind = \"list\"\n";
  text += list_line(tried, "prompt", &CheckedRequest::prompt);
  text += list_line(tried, "output", &CheckedRequest::output);
  text += list_line(tried, "sequences", &CheckedRequest::sequences, 1);
  if (std::ranges::any_of(tried.requests, [](const CheckedRequest& r) { return r.common > 0; })) {
    text += list_line(tried, "family", &CheckedRequest::family, 0);
    text += list_line(tried, "common", &CheckedRequest::common);
  }
  text += arrival_lines(tried);
  text += fmt::format("\n[sampling]\nmethod = \"{}\"\n", method_name(tried.method));
  if (tried.eos) {
    text += fmt::format("eos = {}\nforced_output = false\n", *tried.eos);
  }
  for (const CheckedPolicy& policy : tried.policies) {
    text += policy_lines(policy);
  }
  return text + "\n[output]\ndecisions = true\n";
}

Experiment experiment_of(const CheckCase& tried, const PolicyRegistry& registry) {
  return resolve_experiment(parse_config(case_toml(tried), "case.toml"), "check", registry);
}

}  // namespace pagelab
