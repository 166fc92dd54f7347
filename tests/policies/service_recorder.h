// ServiceRecorder: who was served when, for tests of scheduling policies: order, latencies, deadlines, and
// the service of each client step by step.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/recorder.h"

namespace pagelab::testing {

class ServiceRecorder final : public Recorder {
 public:
  void on_step(const StepRecord& record, std::span<const Decision> decisions) override {
    for (const Decision& d : decisions) {
      const bool takes_part =
          d.kind == DecisionKind::admit || d.kind == DecisionKind::proceed || d.kind == DecisionKind::swap_in;
      if (takes_part) {
        Client& client = clients_[d.group->request.client];
        const bool first = served_.insert(d.group->request.id.value()).second;
        client.prompts += first ? static_cast<double>(d.group->request.prompt.size()) : 0;
        client.decoded += d.decoding ? static_cast<double>(d.tokens.value()) : 0;
      }
    }
    for (auto& [number, client] : clients_) {
      client.prompts_by_step.resize(static_cast<std::size_t>(record.step) + 1, client.prompts);
      client.decoded_by_step.resize(static_cast<std::size_t>(record.step) + 1, client.decoded);
    }
  }
  void on_finish(const SequenceGroup& group) override {
    finished.push_back(group.request.id.value());
    const double latency = (group.finished - group.request.arrival).value();
    latency_ += latency;
    normalized_ += latency / static_cast<double>(group.done.front().output.size());
    deadlines_met += group.request.deadline && group.finished <= *group.request.deadline ? 1 : 0;
  }
  void on_refuse(const Request&, Seconds, const std::string&) override {}

  double mean_latency() const { return latency_ / static_cast<double>(finished.size()); }
  double mean_normalized_latency() const { return normalized_ / static_cast<double>(finished.size()); }

  /// Service of a client in the first `steps` steps: prompt tokens, and output tokens twice.
  double service_of(std::int32_t client, std::size_t steps) const { return service(client, steps - 1); }
  /// The largest difference between the services of two clients over any interval of the first `steps` steps.
  double service_spread(std::int32_t a, std::int32_t b, std::size_t steps) const {
    double least = 0;
    double most = 0;
    for (std::size_t step = 0; step < steps; ++step) {
      const double difference = service(a, step) - service(b, step);
      least = std::min(least, difference);
      most = std::max(most, difference);
    }
    return most - least;
  }

  std::vector<std::int32_t> finished;
  int deadlines_met = 0;

 private:
  struct Client {
    double prompts = 0, decoded = 0;
    std::vector<double> prompts_by_step, decoded_by_step;
  };
  double service(std::int32_t client, std::size_t step) const {
    const Client& c = clients_.at(client);
    return c.prompts_by_step.at(step) + 2 * c.decoded_by_step.at(step);
  }

  std::map<std::int32_t, Client> clients_;
  std::set<std::int32_t> served_;
  double latency_ = 0, normalized_ = 0;
};

}  // namespace pagelab::testing
