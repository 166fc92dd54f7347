#include "experiments/cache_sim/cache_sim_command.h"

#include <array>
#include <map>
#include <optional>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "core/config.h"
#include "core/error.h"
#include "core/policy_registry.h"
#include "experiments/cache_sim/block_trace.h"
#include "experiments/cache_sim/cache_simulator.h"
#include "experiments/csv_table.h"
#include "experiments/plugin/plugin.h"
#include "policies/builtin.h"

namespace pagelab {
namespace {

constexpr std::string_view kOptimum = "belady";

struct Row {
  std::string policy;
  std::int64_t capacity = 0;
  CacheSimResult result;
  double regret = 0;
};

/// The policies to run, each with its parameters.
std::vector<std::pair<std::string, Parameters>> chosen_policies(const CacheSimOptions& options,
                                                                const PolicyRegistry& registry) {
  constexpr std::string_view axis = Axis<EvictionPolicy>::name;
  std::vector<std::string> names = options.policies;
  if (names.empty()) {
    for (const PolicyEntry& policy : registry.axis(axis).policies) {
      names.push_back(policy.info.name);
    }
  }
  const ConfigTable config = parse_config("", "cache-sim", options.overrides);
  config.resolve({}, names);  // what belongs to no policy is an error
  std::vector<std::pair<std::string, Parameters>> chosen;
  for (const std::string& name : names) {
    const PolicyInfo& info = registry.find(axis, name).info;
    chosen.emplace_back(name, config.section(name).resolve(info.parameters));
  }
  return chosen;
}

void check_capacities(const std::vector<std::int64_t>& capacities) {
  if (capacities.empty()) {
    throw InputError("--capacity is missing; valid: the blocks of a cache, and several for several caches");
  }
  for (const std::int64_t capacity : capacities) {
    if (capacity < 1 || capacity > CacheSimulator::largest_capacity) {
      throw InputError(
          fmt::format("--capacity {}: valid: 1 to {} blocks", capacity, CacheSimulator::largest_capacity));
    }
  }
}

CacheSimResult simulate(CacheSimulator& simulator, const PolicyRegistry& registry, const std::string& name,
                        const Parameters& parameters, std::int64_t capacity) {
  try {
    const auto policy = registry.make<EvictionPolicy>(name, parameters, &simulator.future());
    const CacheSimResult result = simulator.run(*policy, Blocks(capacity));
    spdlog::info("{} at {} blocks: {:.1f} million references/s", name, capacity,
                 1e-6 * static_cast<double>(result.references) / result.seconds);
    return result;
  } catch (const PolicyError& error) {
    throw PolicyError(fmt::format("policy eviction/{} at {} blocks: {}", name, capacity, error.what()));
  }
}

std::string table_text(const std::vector<Row>& rows, const BlockTrace& trace) {
  std::string text =
      fmt::format("{:<12} {:>10} {:>12} {:>10} {:>8} {:>12}{}\n", "policy", "capacity", "references",
                  "miss ratio", "regret", "evictions", trace.has_prompts() ? "  tokens served" : "");
  for (const Row& row : rows) {
    text += fmt::format("{:<12} {:>10} {:>12} {:>10.4f} {:>8.4f} {:>12}", row.policy, row.capacity,
                        row.result.references, row.result.miss_ratio(), row.regret, row.result.evictions);
    text += trace.has_prompts() ? fmt::format(" {:>13.1f}%\n", 100 * served_share(trace, row.result)) : "\n";
  }
  return text;
}

constexpr std::array<CsvColumn, 8> kColumns = {{
    {"policy", "text", "", "eviction policy"},
    {"capacity_blocks", "integer", "blocks", "blocks that can be cached at once"},
    {"references", "integer", "", "references of a full block"},
    {"misses", "integer", "", "references that found no cached block, or not all blocks before it"},
    {"miss_ratio", "real", "", "misses per reference"},
    {"regret", "real", "", "miss ratio above that of belady at the same capacity"},
    {"evictions", "integer", "", "blocks evicted"},
    {"tokens_served", "real", "", "share of prompt tokens found in the cache; empty without prompts"},
}};

void write_csv(const std::filesystem::path& file, const std::vector<Row>& rows, const BlockTrace& trace) {
  CsvTable table(file, kColumns);
  for (const Row& row : rows) {
    CsvTable::Row cells(table, row.policy.size() * 2 + 2);
    cells.text(row.policy).integer(row.capacity).integer(row.result.references).integer(row.result.misses);
    cells.real(row.result.miss_ratio()).real(row.regret).integer(row.result.evictions);
    if (trace.has_prompts()) {
      cells.real(served_share(trace, row.result));
    } else {
      cells.empty();
    }
    cells.end();
  }
  table.complete();
}

}  // namespace

std::string cache_sim(const CacheSimOptions& options) {
  PolicyRegistry builtin;
  register_builtin_policies(builtin);
  Plugins plugins;
  load_plugins(options.plugins, plugins);
  const PolicyRegistry registry = with_plugins(builtin, plugins);
  const auto policies = chosen_policies(options, registry);
  check_capacities(options.capacities);
  const BlockTrace trace = read_block_trace(options.trace, Tokens(options.block_tokens));
  CacheSimulator simulator(trace);

  std::map<std::int64_t, CacheSimResult> optimum;
  for (const std::int64_t capacity : options.capacities) {
    if (!optimum.contains(capacity)) {
      optimum[capacity] = simulate(simulator, registry, std::string(kOptimum), Parameters(), capacity);
    }
  }
  std::vector<Row> rows;
  for (const auto& [name, parameters] : policies) {
    for (const std::int64_t capacity : options.capacities) {
      const CacheSimResult best = optimum.at(capacity);
      const CacheSimResult result =
          name == kOptimum ? best : simulate(simulator, registry, name, parameters, capacity);
      rows.push_back({name, capacity, result, result.miss_ratio() - best.miss_ratio()});
    }
  }
  if (!options.csv.empty()) {
    write_csv(options.csv, rows, trace);
  }
  return table_text(rows, trace);
}

}  // namespace pagelab
