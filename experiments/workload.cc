#include "experiments/workload.h"

#include <fmt/format.h>

#include <optional>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "core/random.h"
#include "experiments/arrivals.h"
#include "experiments/lengths.h"
#include "experiments/prompts.h"

namespace pagelab {
namespace {

/// Holds one request's shape and arrival ahead, so that the next arrival time is known; its prompt is made on
/// take().
class GeneratedWorkload final : public Workload {
 public:
  GeneratedWorkload(const WorkloadSpec& spec, std::uint64_t seed, std::int64_t vocabulary,
                    std::unique_ptr<LengthSource> lengths, std::unique_ptr<ArrivalSource> arrivals,
                    std::int64_t total)
      : sampling_(spec.sampling),
        forced_output_(spec.forced_output),
        seed_(seed),
        lengths_(std::move(lengths)),
        arrivals_(std::move(arrivals)),
        prompts_(seed, vocabulary),
        total_(total) {
    look_ahead();
  }

  std::optional<Seconds> next_arrival() const override {
    return arrival_ ? std::optional(arrival_->time) : std::nullopt;
  }

  Request take() override {
    PAGELAB_INVARIANT(arrival_.has_value(), "take() without an arrival");
    Request request;
    request.id = RequestId(static_cast<std::int32_t>(issued_));
    request.client = arrival_->client;
    request.arrival = arrival_->time;
    request.prompt = prompts_.make(request.id, *shape_);
    request.max_output = shape_->output;
    request.forced_output = forced_output_;
    request.sampling = sampling_;
    request.sampling.seed = derive_seed(seed_, "sampling", static_cast<std::uint64_t>(issued_));
    clients_.emplace(request.id.value(), request.client);
    ++issued_;
    shape_.reset();
    arrival_.reset();
    look_ahead();
    return request;
  }

  void on_end(RequestId request, Seconds now) override {
    const auto client = clients_.find(request.value());
    PAGELAB_INVARIANT(client != clients_.end(), fmt::format("request {} ended twice", request.value()));
    arrivals_->on_end(client->second, now);
    clients_.erase(client);
    if (!arrival_) {
      look_ahead();
    }
  }

  std::int64_t total() const override { return total_; }

 private:
  void look_ahead() {
    if (issued_ == total_) {
      return;
    }
    if (!shape_) {
      shape_ = lengths_->next();
    }
    arrival_ = arrivals_->next(*shape_);
  }

  Sampling sampling_;
  bool forced_output_;
  std::uint64_t seed_;
  std::unique_ptr<LengthSource> lengths_;
  std::unique_ptr<ArrivalSource> arrivals_;
  PromptSource prompts_;
  std::int64_t total_;
  std::int64_t issued_ = 0;
  std::optional<RequestShape> shape_;
  std::optional<Arrival> arrival_;
  std::unordered_map<std::int32_t, std::int32_t> clients_;  ///< of the requests in flight
};

}  // namespace

std::unique_ptr<Workload> make_workload(const WorkloadSpec& spec, std::uint64_t seed,
                                        std::int64_t vocabulary) {
  if (spec.sampling.eos && *spec.sampling.eos >= vocabulary) {
    throw InputError(fmt::format("key 'sampling.eos' is {}, but the model's tokens are 0 to {}",
                                 *spec.sampling.eos, vocabulary - 1));
  }
  auto lengths = make_kind(length_kinds(), spec.lengths, LengthContext{seed, spec.requests});
  auto arrivals = make_kind(arrival_kinds(), spec.arrivals, ArrivalContext{seed, lengths->has_stamps()});
  const std::int64_t total = lengths->total().value_or(spec.requests);
  if (total > INT32_MAX) {
    throw InputError(fmt::format("the workload has {} requests; at most {} fit one run", total, INT32_MAX));
  }
  return std::make_unique<GeneratedWorkload>(spec, seed, vocabulary, std::move(lengths), std::move(arrivals),
                                             total);
}

}  // namespace pagelab
