#include "experiments/summary.h"

#include <algorithm>

#include <fmt/format.h>

namespace pagelab {

namespace {

using Json = nlohmann::ordered_json;

Json to_json(const Distribution& d) {
  return {{"count", d.count}, {"mean", d.mean}, {"p50", d.p50},
          {"p90", d.p90},     {"p99", d.p99},   {"max", d.max}};
}

/// Clients that have a member of their own at most; beyond that requests.csv tells.
constexpr std::size_t kMostClients = 32;

Json clients_json(const std::vector<ClientStatistics>& clients) {
  Json json = Json::array();
  for (std::size_t client = 0; client < clients.size(); ++client) {
    const ClientStatistics& c = clients[client];
    const double requests = std::max(1.0, static_cast<double>(c.finished));
    json.push_back({{"client", client},
                    {"finished", c.finished},
                    {"output_tokens", c.output.value()},
                    {"mean_normalized_latency_s_per_token", c.normalized_latency_s / requests},
                    {"mean_ttft_s", c.ttft_s / requests}});
  }
  return json;
}

Json shares_json(const std::array<double, 6>& shares) {
  Json json;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    json[slot_states[i]] = shares[i];
  }
  return json;
}

std::string latency_line(const char* name, const Json& d, double factor, const char* unit) {
  return fmt::format("{:<19}mean {:.4g}  p50 {:.4g}  p90 {:.4g}  p99 {:.4g} {}\n", name,
                     d["mean"].get<double>() * factor, d["p50"].get<double>() * factor,
                     d["p90"].get<double>() * factor, d["p99"].get<double>() * factor, unit);
}

std::string requests_line(const Json& summary) {
  const Json& requests = summary["requests"];
  std::string line =
      fmt::format("requests           {} finished, {} refused", requests["finished"].get<std::int64_t>(),
                  requests["refused"].get<std::int64_t>());
  if (!summary["complete"].get<bool>()) {
    line += fmt::format(", {} unfinished; PARTIAL: {}", requests["unfinished"].get<std::int64_t>(),
                        summary["reason"].get<std::string>());
  }
  return line + "\n";
}

}  // namespace

Json summary_json(RunStatistics& statistics, const RunEnd& end, const Json& provenance) {
  const double duration = statistics.end.value();
  const auto per_second = [duration](std::int64_t count) {
    return duration > 0 ? static_cast<double>(count) / duration : 0.0;
  };
  const Tokens computed = statistics.prefill + statistics.decode;
  Json json;
  json["complete"] = end.complete;
  if (!end.complete) {
    json["reason"] = end.reason;
  }
  json["requests"] = {{"finished", statistics.finished},
                      {"refused", statistics.refused},
                      {"unfinished", statistics.unfinished}};
  json["duration_s"] = duration;
  json["busy_s"] = statistics.busy_s;
  json["steps"] = statistics.steps;
  json["throughput"] = {{"requests_per_s", per_second(statistics.finished)},
                        {"output_tokens_per_s", per_second(statistics.output.value())},
                        {"computed_tokens_per_s", per_second(computed.value())}};
  json["tokens"] = {{"output", statistics.output.value()},
                    {"prefill", statistics.prefill.value()},
                    {"decode", statistics.decode.value()},
                    {"recomputed", statistics.recomputed.value()}};
  json["normalized_latency_s_per_token"] = to_json(describe(statistics.normalized_latency_s));
  json["ttft_s"] = to_json(describe(statistics.ttft_s));
  json["tpot_s_per_token"] = to_json(describe(statistics.tpot_s));
  json["latency_s"] = to_json(describe(statistics.latency_s));
  json["time_between_tokens_s"] = to_json(statistics.pauses.distribution());
  json["deadlines"] = {{"finished", statistics.deadlines}, {"met", statistics.deadlines_met}};
  if (statistics.clients.size() > 1 && statistics.clients.size() <= kMostClients) {
    json["clients"] = clients_json(statistics.clients);
  }
  json["memory_shares"] = {{"over_time", shares_json(statistics.shares_over_time())},
                           {"over_steps", shares_json(statistics.shares_over_steps())}};
  json["running_groups"] = {{"mean", statistics.running_over_time()},
                            {"mean_over_steps", statistics.running_over_steps()},
                            {"max", statistics.max_running}};
  json["sharing_saving"] = statistics.sharing_saving_over_time();
  json["sharing_saving_over_steps"] = statistics.sharing_saving_over_steps();
  json["prefix_cache"] = {
      {"hit_tokens", statistics.hits.value()},
      {"hit_share", statistics.prompts > Tokens(0) ? static_cast<double>(statistics.hits.value()) /
                                                         static_cast<double>(statistics.prompts.value())
                                                   : 0.0},
      {"evictions", statistics.evictions},
      {"evicted_then_needed", statistics.evicted_then_needed}};
  json["preemptions"] = {{"recompute", statistics.preempt_recompute}, {"swap", statistics.preempt_swap}};
  json["blocks_copied"] = statistics.copied.value();
  json["bytes_swapped"] = {{"in", statistics.swapped_in.value()}, {"out", statistics.swapped_out.value()}};
  if (!end.operator_seconds.is_null()) {
    json["operator_seconds"] = end.operator_seconds;
  }
  json["warnings"] = end.warnings;
  json["provenance"] = provenance;
  for (const auto& [axis, count] : end.census.items()) {
    json["provenance"]["policies"][axis]["census"] = count;
  }
  return json;
}

std::string summary_text(const Json& summary) {
  const Json& throughput = summary["throughput"];
  const Json& shares = summary["memory_shares"]["over_time"];
  const auto percent = [&shares](const char* state) { return 100 * shares[state].get<double>(); };
  std::string text = requests_line(summary);
  text += fmt::format("time               {:.6g} s in {} steps\n", summary["duration_s"].get<double>(),
                      summary["steps"].get<std::int64_t>());
  text +=
      fmt::format("throughput         {:.4g} requests/s, {:.5g} output tokens/s, {:.5g} computed tokens/s\n",
                  throughput["requests_per_s"].get<double>(), throughput["output_tokens_per_s"].get<double>(),
                  throughput["computed_tokens_per_s"].get<double>());
  text += latency_line("normalized latency", summary["normalized_latency_s_per_token"], 1e3, "ms/token");
  text += latency_line("first token", summary["ttft_s"], 1, "s");
  text += latency_line("per output token", summary["tpot_s_per_token"], 1e3, "ms");
  text += latency_line("end to end", summary["latency_s"], 1, "s");
  text += fmt::format(
      "memory             tokens {:.1f} %, cached {:.1f} %, reserved {:.1f} %, internal {:.1f} %, "
      "external {:.1f} %, free {:.1f} %\n",
      percent("token"), percent("cached"), percent("reserved"), percent("internal"), percent("external"),
      percent("free"));
  text += fmt::format(
      "groups             {:.4g} running on average, {} at most; sharing saves {:.1f} % of blocks\n",
      summary["running_groups"]["mean"].get<double>(), summary["running_groups"]["max"].get<int>(),
      100 * summary["sharing_saving"].get<double>());
  const Json& cache = summary["prefix_cache"];
  if (cache["hit_tokens"] != 0 || cache["evictions"] != 0) {
    text += fmt::format(
        "prefix cache       {:.1f} % of prompt tokens found; {} blocks evicted, {} of them needed again\n",
        100 * cache["hit_share"].get<double>(), cache["evictions"].get<std::int64_t>(),
        cache["evicted_then_needed"].get<std::int64_t>());
  }
  text += fmt::format(
      "preemptions        {} by recompute ({} tokens), {} by swap ({:.4g} MB out); {} blocks copied\n",
      summary["preemptions"]["recompute"].get<std::int64_t>(),
      summary["tokens"]["recomputed"].get<std::int64_t>(), summary["preemptions"]["swap"].get<std::int64_t>(),
      1e-6 * summary["bytes_swapped"]["out"].get<double>(), summary["blocks_copied"].get<std::int64_t>());
  return text;
}

}  // namespace pagelab
