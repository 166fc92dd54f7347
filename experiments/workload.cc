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
        share_(spec.share),
        forced_output_(spec.forced_output),
        prefix_(spec.prefix),
        end_(spec.duration),
        seed_(seed),
        lengths_(std::move(lengths)),
        arrivals_(std::move(arrivals)),
        prompts_(seed, vocabulary),
        marks_(spec.marks, seed),
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
    request.prompt = prompts_.make(request.id, *shape_, prefix_);
    request.shared_prefix = prefix_;
    request.max_output = shape_->output;
    request.forced_output = forced_output_;
    request.sampling = sampling_;
    if (shape_->sequences > 0) {
      request.sampling.n = shape_->sequences;
    }
    request.sampling.seed = derive_seed(seed_, "sampling", static_cast<std::uint64_t>(issued_));
    if (share_ < 1 && RandomStream(request.sampling.seed, "share").uniform() >= share_) {
      request.sampling.n = 1;
    }
    clients_.emplace(request.id.value(), arrival_->client);
    marks_.mark(request, *shape_);
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
    if (arrival_ && end_ > Seconds(0) && arrival_->time >= end_) {
      arrival_.reset();
      total_ = issued_;
    }
  }

  Sampling sampling_;
  double share_;
  bool forced_output_;
  Tokens prefix_;
  Seconds end_;  ///< 0: none
  std::uint64_t seed_;
  std::unique_ptr<LengthSource> lengths_;
  std::unique_ptr<ArrivalSource> arrivals_;
  PromptSource prompts_;
  RequestMarks marks_;
  std::int64_t total_;
  std::int64_t issued_ = 0;
  std::optional<RequestShape> shape_;
  std::optional<Arrival> arrival_;
  std::unordered_map<std::int32_t, std::int32_t> clients_;  ///< of the arrivals in flight
};

/// A fresh source of the same arrivals, to be asked about them ahead of the run.
std::unique_ptr<ArrivalSource> arrivals_ahead(const WorkloadSpec& spec, std::uint64_t seed) {
  return make_kind(arrival_kinds(), spec.arrivals, ArrivalContext{seed, true});
}

/// How many of `limit` requests (0: any number) arrive within the duration. `limit` itself if there is none,
/// if completions decide, or if that depends on the stamps of `lengths` and they are not given, or the other
/// way round.
std::int64_t within_duration(const WorkloadSpec& spec, std::uint64_t seed, const LengthSource* lengths,
                             std::int64_t limit) {
  const auto arrivals = arrivals_ahead(spec, seed);
  if (spec.duration == Seconds(0) || !arrivals->goes_on() ||
      arrivals->uses_stamps() != (lengths != nullptr)) {
    return limit;
  }
  const std::int64_t count =
      count_arrivals(*arrivals, lengths, spec.duration, limit > 0 ? limit : std::int64_t{INT32_MAX} + 1);
  if (count == 0) {
    throw InputError(fmt::format("key 'workload.duration_s' is {}, and no request arrives before that",
                                 spec.duration.value()));
  }
  return count;
}

}  // namespace

bool has_end(const WorkloadSpec& spec) {
  const bool whole_trace = spec.lengths.kind == "trace" && !spec.lengths.parameters.flag("repeat");
  return spec.requests > 0 || whole_trace || spec.lengths.kind == "list" ||
         (spec.duration > Seconds(0) && arrivals_ahead(spec, 0)->goes_on());
}

std::unique_ptr<Workload> make_workload(const WorkloadSpec& spec, std::uint64_t seed,
                                        std::int64_t vocabulary) {
  if (spec.sampling.eos && *spec.sampling.eos >= vocabulary) {
    throw InputError(fmt::format("key 'sampling.eos' is {}, but the model's tokens are 0 to {}",
                                 *spec.sampling.eos, vocabulary - 1));
  }
  PAGELAB_INVARIANT(has_end(spec), "a workload has an end");
  // The number of requests comes first: a trace that is repeated or shuffled is cut to it. Where arrivals are
  // the stamps of a trace, it is the other way round.
  const std::int64_t wanted = within_duration(spec, seed, nullptr, spec.requests);
  auto lengths = make_kind(length_kinds(), spec.lengths, LengthContext{seed, wanted});
  auto arrivals = make_kind(arrival_kinds(), spec.arrivals, ArrivalContext{seed, lengths->has_stamps()});
  const std::int64_t total = within_duration(spec, seed, lengths.get(), lengths->total().value_or(wanted));
  if (total > INT32_MAX) {
    throw InputError(
        fmt::format("the workload has more than {} requests, the most that fit one run", INT32_MAX));
  }
  return std::make_unique<GeneratedWorkload>(spec, seed, vocabulary, std::move(lengths), std::move(arrivals),
                                             total);
}

}  // namespace pagelab
