#include "experiments/request_marks.h"

#include <fmt/format.h>

#include <numeric>
#include <utility>

namespace pagelab {
namespace {

ParameterSpec shares_spec(std::string help) {
  return {
      .name = "shares", .default_value = RealList{}, .help = std::move(help), .minimum = 0, .maximum = 1e9};
}

ParameterSpec slack_spec(std::string name, std::string help) {
  return {.name = std::move(name),
          .default_value = 0.0,
          .unit = "s/token",
          .help = std::move(help),
          .minimum = 0,
          .maximum = 1e6};
}

double sum_of(const RealList& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

/// Shares that are given must be as many as `things`, and not all 0.
void check_shares(const ConfigTable& table, const RealList& shares, std::size_t things, const char* of) {
  if (!shares.empty() && shares.size() != things) {
    table.fail("shares", fmt::format("has {} entries for {} {}", shares.size(), things, of));
  }
  if (!shares.empty() && sum_of(shares) == 0) {
    table.fail("shares", "holds no share above 0");
  }
}

void refuse_both(const ConfigTable& table, const char* key, bool given, const std::string& from_elsewhere) {
  if (given && !from_elsewhere.empty()) {
    table.fail(key, fmt::format("is given, but {} says it already; leave one of them out", from_elsewhere));
  }
}

/// An index below `count`, by shares if there are any.
std::size_t draw(RandomStream& random, const RealList& shares, std::size_t count) {
  if (shares.empty()) {
    return random.below(count);
  }
  double left = random.uniform() * sum_of(shares);
  std::size_t last = 0;  // with a share: where rounding leaves something over
  for (std::size_t i = 0; i < shares.size(); ++i) {
    if (shares[i] > 0) {
      last = i;
      left -= shares[i];
      if (left < 0) {
        break;
      }
    }
  }
  return last;
}

}  // namespace

std::vector<ParameterSpec> client_parameters() {
  return {shares_spec("of the requests that client 0, 1, ... sends; empty: as arrivals or trace say")};
}

std::vector<ParameterSpec> priority_parameters() {
  return {{.name = "levels",
           .default_value = IntegerList{},
           .help = "priorities that requests get, larger is more urgent; empty: as the trace says, or 0",
           .minimum = -1e6,
           .maximum = 1e6},
          shares_spec("of the requests that get each of the levels; empty: all alike")};
}

std::vector<ParameterSpec> deadline_parameters() {
  return {{.name = "slack_s",
           .default_value = RealList{},
           .unit = "s",
           .help = "times from arrival to deadline, of which a request gets one; empty: no constant part",
           .minimum = 0,
           .maximum = 1e9},
          shares_spec("of the requests that get each slack_s; empty: all alike"),
          slack_spec("prompt_token_s", "added to the deadline for each prompt token"),
          slack_spec("output_token_s", "added to the deadline for each output token; all 0: no deadlines")};
}

void resolve_clients(MarksSpec& spec, const ConfigTable& table, const Parameters& p,
                     const std::string& from_elsewhere) {
  spec.client_shares = p.reals("shares");
  check_shares(table, spec.client_shares, spec.client_shares.size(), "clients");
  refuse_both(table, "shares", !spec.client_shares.empty(), from_elsewhere);
}

void resolve_priorities(MarksSpec& spec, const ConfigTable& table, const Parameters& p,
                        const std::string& from_elsewhere) {
  spec.priorities = p.integers("levels");
  spec.priority_shares = p.reals("shares");
  check_shares(table, spec.priority_shares, spec.priorities.size(), "levels");
  refuse_both(table, "levels", !spec.priorities.empty(), from_elsewhere);
}

void resolve_deadlines(MarksSpec& spec, const ConfigTable& table, const Parameters& p,
                       const std::string& from_elsewhere) {
  spec.slacks_s = p.reals("slack_s");
  spec.slack_shares = p.reals("shares");
  spec.slack_prompt_token_s = p.real("prompt_token_s");
  spec.slack_output_token_s = p.real("output_token_s");
  check_shares(table, spec.slack_shares, spec.slacks_s.size(), "values of slack_s");
  refuse_both(table, "slack_s", !spec.slacks_s.empty(), from_elsewhere);
  refuse_both(table, "prompt_token_s", spec.slack_prompt_token_s > 0, from_elsewhere);
  refuse_both(table, "output_token_s", spec.slack_output_token_s > 0, from_elsewhere);
}

RequestMarks::RequestMarks(MarksSpec spec, std::uint64_t seed)
    : spec_(std::move(spec)),
      clients_(seed, "clients"),
      priorities_(seed, "priorities"),
      deadlines_(seed, "deadlines") {}

void RequestMarks::mark(Request& request, const RequestShape& shape) {
  request.client = shape.client.value_or(request.client);
  request.priority = shape.priority;
  std::optional<Seconds> slack = shape.slack;
  if (!spec_.client_shares.empty()) {
    request.client =
        static_cast<std::int32_t>(draw(clients_, spec_.client_shares, spec_.client_shares.size()));
  }
  if (!spec_.priorities.empty()) {
    request.priority = static_cast<std::int32_t>(
        spec_.priorities[draw(priorities_, spec_.priority_shares, spec_.priorities.size())]);
  }
  if (!spec_.slacks_s.empty()) {
    slack = Seconds(spec_.slacks_s[draw(deadlines_, spec_.slack_shares, spec_.slacks_s.size())]);
  }
  if (spec_.slack_prompt_token_s > 0 || spec_.slack_output_token_s > 0) {
    slack = slack.value_or(Seconds(0)) +
            Seconds(spec_.slack_prompt_token_s * static_cast<double>(request.prompt.size()) +
                    spec_.slack_output_token_s * static_cast<double>(request.max_output.value()));
  }
  if (slack) {
    request.deadline = request.arrival + *slack;
  }
}

}  // namespace pagelab
