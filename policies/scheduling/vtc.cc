// Virtual token counter (Fairness in Serving Large Language Models, OSDI 2024, section 4): the client that
// got the least service, in weighted tokens, goes first; its requests in order of arrival. A client that was
// idle is lifted to the least counter of those that wait, so that it saves up no credit. Two clients that
// always wait differ in service by at most twice the larger of a prompt's cost and that of a full batch of
// output tokens.
//
// The paper charges a prompt when it is admitted, one after the other. Here the order of a whole step is
// asked for at once, so the key of a request is what its client's counter will be when its turn comes: the
// counter so far, and the prompts of the same client that are ahead of it.
#include <algorithm>
#include <limits>
#include <vector>

#include "core/policy_registry.h"
#include "policies/scheduling/per_request.h"

namespace pagelab {
namespace {

class Vtc final : public SchedulingPolicy {
 public:
  explicit Vtc(const Parameters& parameters)
      : input_cost_(parameters.real("input_cost")),
        output_cost_(parameters.real("output_cost")),
        weights_(parameters.reals("weights")) {}

  double key(const GroupView& group, Seconds) override {
    return client(group).beyond_prompts + requests_[group.request()].prompts_ahead;
  }
  bool keys_change() const override { return true; }

  void arrived(const GroupView& group, Seconds) override {
    Client& client = this->client(group);
    if (client.waiting == 0) {
      lift(client);
    }
    ++client.waiting;
    requests_[group.request()].prompts_ahead = client.prompts_arrived;
    client.prompts_arrived += prompt_cost(group);
  }

  void served(const GroupView& group, const Service& service) override {
    Client& client = this->client(group);
    RequestState& request = requests_[group.request()];
    if (!request.admitted) {
      request.admitted = true;
      client.prompts_admitted += prompt_cost(group);
      if (--client.waiting == 0) {
        last_to_leave_ = group.client();
      }
    }
    client.beyond_prompts +=
        output_cost_ * static_cast<double>(service.decode.value()) / weight(group.client());
  }

 private:
  struct Client {
    double beyond_prompts = 0;    ///< charges for output tokens, and lifts
    double prompts_arrived = 0;   ///< cost of all its prompts so far
    double prompts_admitted = 0;  ///< of those that have been served
    std::int64_t waiting = 0;     ///< requests that have not been served yet
    double counter() const { return beyond_prompts + prompts_admitted; }
  };
  struct RequestState {
    double prompts_ahead = 0;
    bool admitted = false;
  };

  Client& client(const GroupView& group) {
    const auto index = static_cast<std::size_t>(group.client());
    if (index >= clients_.size()) {
      clients_.resize(index + 1);
    }
    return clients_[index];
  }
  double weight(std::int32_t client) const {
    const auto index = static_cast<std::size_t>(client);
    return index < weights_.size() ? weights_[index] : 1.0;
  }
  double prompt_cost(const GroupView& group) const {
    return input_cost_ * static_cast<double>(group.prompt_tokens().value()) / weight(group.client());
  }
  /// Brings the counter of a client that had nothing waiting up to the least of those that have, or if there
  /// are none to that of the last one that had.
  void lift(Client& idle) {
    double least = std::numeric_limits<double>::infinity();
    for (const Client& client : clients_) {
      least = client.waiting > 0 ? std::min(least, client.counter()) : least;
    }
    if (least == std::numeric_limits<double>::infinity()) {
      least = last_to_leave_ < 0 ? 0 : clients_[static_cast<std::size_t>(last_to_leave_)].counter();
    }
    idle.beyond_prompts += std::max(0.0, least - idle.counter());
  }

  double input_cost_, output_cost_;
  RealList weights_;
  std::vector<Client> clients_;
  PerRequest<RequestState> requests_;
  std::int32_t last_to_leave_ = -1;  ///< the client whose last waiting request was served last
};

}  // namespace

void register_scheduling_vtc(PolicyRegistry& registry) {
  const auto cost = [](const char* name, double standard, const char* help) {
    return ParameterSpec{
        .name = name, .default_value = standard, .unit = "1/token", .help = help, .maximum = 1e6, .above = 0};
  };
  registry.add<SchedulingPolicy, Vtc>(
      {.name = "vtc",
       .summary = "the client that got the least service first",
       .source = "Fairness in Serving Large Language Models (OSDI 2024), section 4",
       .parameters = {cost("input_cost", 1.0, "service that a prompt token counts as"),
                      cost("output_cost", 2.0, "service that an output token counts as"),
                      {.name = "weights",
                       .default_value = RealList{},
                       .help = "of client 0, 1, ...: their shares of the service; clients beyond have 1",
                       .maximum = 1e6,
                       .above = 0}}});
}

}  // namespace pagelab
