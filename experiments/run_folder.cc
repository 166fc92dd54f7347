#include "experiments/run_folder.h"

#include <exception>
#include <functional>

#include <fmt/format.h>

namespace pagelab {

namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

/// Set aside for summary.json from the start, so that a run whose disk fills up can still say so.
constexpr std::size_t summary_bytes = 16 * 1024;

fs::path created(const fs::path& folder) {
  require_empty(folder);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw OutputError(fmt::format("cannot create {}: {}", folder.string(), error.message()));
  }
  return folder;
}

Json columns_json(std::span<const CsvColumn> columns) {
  Json json = Json::object();
  for (const CsvColumn& column : columns) {
    json[std::string(column.name)] = {
        {"type", column.type}, {"unit", column.unit}, {"meaning", column.meaning}};
  }
  return json;
}

}  // namespace

RunFolder::RunFolder(const fs::path& folder, Options options)
    : folder_(created(folder)),
      provenance_(std::move(options.provenance)),
      summary_(folder / "summary.json", summary_bytes) {
  if (options.steps) {
    steps_.emplace(folder / "steps.csv");
  }
  if (options.requests) {
    requests_.emplace(folder / "requests.csv");
  }
  if (options.decisions) {
    decisions_.emplace(folder / "decisions.jsonl");
  }
  if (options.trace) {
    timeline_.emplace(folder / "trace.json");
  }
  write_file(folder / "experiment.toml", options.experiment_toml);
  write_file(folder / "schema.json", schema_json().dump(2) + "\n");
}

void RunFolder::on_step(const StepRecord& record, std::span<const Decision> decisions) {
  check_ledger(record);
  statistics_.on_step(record, decisions);
  if (steps_) {
    steps_->add(record);
  }
  if (decisions_) {
    decisions_->add(record, decisions);
  }
  if (timeline_) {
    timeline_->on_step(record, decisions);
  }
}

void RunFolder::on_finish(const SequenceGroup& group) {
  const RequestMetrics metrics = metrics_of(group);
  statistics_.on_finish(metrics);
  if (requests_) {
    requests_->add(group, metrics);
  }
  if (timeline_) {
    timeline_->on_finish(group);
  }
}

void RunFolder::on_refuse(const Request& request, Seconds, const std::string& why) {
  statistics_.on_refuse();
  if (requests_) {
    requests_->add_refused(request, why);
  }
}

void RunFolder::on_unfinished(const SequenceGroup& group, Seconds now) {
  statistics_.on_unfinished();
  if (requests_) {
    requests_->add(group, metrics_of(group));
  }
  if (timeline_) {
    timeline_->on_unfinished(group, now);
  }
}

Json RunFolder::finish(RunEnd end) {
  std::exception_ptr failure;
  const auto attempt = [&](const std::function<void()>& completion) {
    try {
      completion();
    } catch (const OutputError& error) {
      if (!failure) {
        failure = std::current_exception();
      }
      if (end.complete) {
        end.complete = false;
        end.reason = error.what();
      }
    }
  };
  if (steps_) {
    attempt([&] { steps_->complete(); });
  }
  if (requests_) {
    attempt([&] { requests_->complete(); });
  }
  if (decisions_) {
    attempt([&] { decisions_->complete(); });
  }
  if (timeline_) {
    attempt([&] { timeline_->complete(); });
  }
  Json summary = summary_json(statistics_, end, provenance_);
  attempt([&] {
    summary_.write(summary.dump(2) + "\n");
    summary_.complete();
  });
  if (failure) {
    std::rethrow_exception(failure);
  }
  return summary;
}

Json schema_json() {
  return {
      {"steps.csv", columns_json(StepsCsv::columns())},
      {"requests.csv", columns_json(RequestsCsv::columns())},
      {"notes",
       {{"summary.json",
         "over_time: averages weighted by the steps' durations; over_steps: every step counts the same. "
         "running_groups.mean and sharing_saving are over time. "
         "Percentiles "
         "interpolate linearly between the closest ranks. Throughput is over duration_s, from the start of "
         "the run "
         "to the end of its last step; output tokens are those of finished requests. "
         "time_between_tokens_s: from one token of a request to its next, over all of them; its percentiles "
         "are "
         "of a histogram and off by less than 0.4 %. deadlines: finished requests that have one, and those "
         "of "
         "them that met it. clients: means over each client's finished requests, where there are 2 to 32 "
         "clients."},
        {"decisions.jsonl",
         "one decision per line, in the order in which they were applied; sequence is the place of the "
         "sequence "
         "meant among the live ones of its group at that moment, null for the whole group"},
        {"trace.json",
         "trace events for Perfetto. Steps and counters are thinned: once 50,000 steps are drawn only every "
         "second "
         "one is, after 50,000 more every fourth, and so on. After 1,000,000 request events further ones are "
         "left "
         "out; the last event says how many."}}},
  };
}

fs::path unused_folder(const fs::path& parent, const std::string& name) {
  fs::path folder = parent / name;
  for (int number = 2; fs::exists(folder); ++number) {
    folder = parent / fmt::format("{}-{}", name, number);
  }
  return folder;
}

void require_empty(const fs::path& folder) {
  std::error_code error;
  if (!fs::exists(folder, error)) {
    return;
  }
  if (!fs::is_directory(folder, error)) {
    throw OutputError(fmt::format("{} is there already and is no folder", folder.string()));
  }
  const bool empty = fs::is_empty(folder, error);
  if (error) {
    throw OutputError(fmt::format("cannot read {}: {}", folder.string(), error.message()));
  }
  if (!empty) {
    throw OutputError(
        fmt::format("{} is there already and not empty; runs are not overwritten", folder.string()));
  }
}

}  // namespace pagelab
