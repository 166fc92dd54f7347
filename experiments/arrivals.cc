#include "experiments/arrivals.h"

#include <cmath>
#include <deque>

#include <fmt/format.h>

#include "core/random.h"
#include "experiments/numpy_random.h"

namespace pagelab {
namespace {

ParameterSpec rate_spec() {
  return {.name = "rate_per_s",
          .default_value = 1.0,
          .unit = "requests/s",
          .help = "mean request rate",
          .maximum = 1e9,
          .above = 0};
}

class AllAtOnce final : public ArrivalSource {
 public:
  AllAtOnce(const KindChoice&, const ArrivalContext&) {}
  std::optional<Arrival> next(const RequestShape&) override { return Arrival{}; }
  bool goes_on() const override { return false; }
};

class TraceArrivals final : public ArrivalSource {
 public:
  TraceArrivals(const KindChoice& choice, const ArrivalContext& context)
      : scale_(choice.parameters.real("time_scale")) {
    if (!context.stamped) {
      choice.table.fail("kind", "cannot be 'trace': the lengths come without time stamps");
    }
  }
  std::optional<Arrival> next(const RequestShape& shape) override {
    const Seconds stamp = shape.stamp.value();
    first_ = first_.value_or(stamp);
    return Arrival{(stamp - *first_) * scale_, shape.client.value_or(0)};
  }
  bool uses_stamps() const override { return true; }

 private:
  double scale_;
  std::optional<Seconds> first_;
};

class ConstantArrivals final : public ArrivalSource {
 public:
  ConstantArrivals(const KindChoice& choice, const ArrivalContext&)
      : rate_(choice.parameters.real("rate_per_s")) {}
  std::optional<Arrival> next(const RequestShape&) override { return Arrival{Seconds(count_++ / rate_)}; }

 private:
  double rate_;
  double count_ = 0;
};

/// A quantum of q s stamps all arrivals of [k q, (k+1) q) at k q, which is what the authors' driver does with
/// the Poisson(rate q) arrivals that it draws for each 10 ms.
class PoissonArrivals final : public ArrivalSource {
 public:
  PoissonArrivals(const KindChoice& choice, const ArrivalContext& context)
      : random_(context.seed, "arrivals"),
        rate_(choice.parameters.real("rate_per_s")),
        quantum_(choice.parameters.real("quantum_s")) {}
  std::optional<Arrival> next(const RequestShape&) override {
    time_ += random_.exponential(rate_);
    return Arrival{Seconds(quantum_ > 0 ? std::floor(time_ / quantum_) * quantum_ : time_)};
  }

 private:
  RandomStream random_;
  double rate_;
  double quantum_;
  double time_ = 0;
};

/// The same, drawn quantum by quantum with NumPy, as the authors' driver does: with its seed, its own
/// arrivals.
class NumpyPoissonArrivals final : public ArrivalSource {
 public:
  NumpyPoissonArrivals(const KindChoice& choice, const ArrivalContext&)
      : random_(static_cast<std::uint32_t>(choice.parameters.integer("numpy_seed"))),
        quantum_(choice.parameters.real("quantum_s")),
        mean_(choice.parameters.real("rate_per_s") * quantum_) {
    if (mean_ <= 0 || mean_ >= 10) {
      choice.table.fail(
          "numpy_seed",
          fmt::format(
              "needs a quantum_s with more than 0 and fewer than 10 arrivals on average; {} s of {}/s are {}",
              quantum_, choice.parameters.real("rate_per_s"), mean_));
    }
  }
  std::optional<Arrival> next(const RequestShape&) override {
    while (left_ == 0) {
      left_ = random_.poisson(mean_);
      ++quanta_;
    }
    --left_;
    return Arrival{Seconds(static_cast<double>(quanta_ - 1) * quantum_)};
  }

 private:
  NumpyRandom random_;
  double quantum_, mean_;
  std::int64_t quanta_ = 0;  ///< begun
  std::int32_t left_ = 0;    ///< arrivals of the last of them
};

std::unique_ptr<ArrivalSource> make_poisson(const KindChoice& choice, ArrivalContext context) {
  if (choice.parameters.integer("numpy_seed") >= 0) {
    return std::make_unique<NumpyPoissonArrivals>(choice, context);
  }
  return std::make_unique<PoissonArrivals>(choice, context);
}

class GammaArrivals final : public ArrivalSource {
 public:
  GammaArrivals(const KindChoice& choice, const ArrivalContext& context) : random_(context.seed, "arrivals") {
    const double cv = choice.parameters.real("cv");
    shape_ = 1 / (cv * cv);
    scale_ = 1 / (shape_ * choice.parameters.real("rate_per_s"));
  }
  std::optional<Arrival> next(const RequestShape&) override {
    time_ += random_.gamma(shape_, scale_);
    return Arrival{Seconds(time_)};
  }

 private:
  RandomStream random_;
  double shape_ = 1;
  double scale_ = 1;
  double time_ = 0;
};

/// Each client sends its next request when its last one has ended.
class ClosedLoop final : public ArrivalSource {
 public:
  ClosedLoop(const KindChoice& choice, const ArrivalContext&) {
    for (std::int64_t client = 0; client < choice.parameters.integer("clients"); ++client) {
      ready_.push_back({Seconds(0), static_cast<std::int32_t>(client)});
    }
  }
  std::optional<Arrival> next(const RequestShape&) override {
    if (ready_.empty()) {
      return std::nullopt;
    }
    const Arrival arrival = ready_.front();
    ready_.pop_front();
    return arrival;
  }
  bool goes_on() const override { return false; }
  void on_end(std::int32_t client, Seconds now) override { ready_.push_back({now, client}); }

 private:
  std::deque<Arrival> ready_;
};

}  // namespace

std::int64_t count_arrivals(ArrivalSource& arrivals, const LengthSource* lengths, Seconds end,
                            std::int64_t limit) {
  RequestShape shape;
  for (std::int64_t count = 0; count < limit; ++count) {
    if (arrivals.uses_stamps()) {
      shape.stamp = lengths->stamp(count);
    }
    if (arrivals.next(shape).value().time >= end) {
      return count;
    }
  }
  return limit;
}

const std::vector<Kind<ArrivalSource, ArrivalContext>>& arrival_kinds() {
  static const std::vector<Kind<ArrivalSource, ArrivalContext>> kinds = {
      {"all_at_once", "every request at time 0", {}, make_one<AllAtOnce>},
      {"trace",
       "the times of the trace, from its first request on",
       {{.name = "time_scale",
         .default_value = 1.0,
         .help = "factor on times; 2 halves the rate",
         .maximum = 1e9,
         .above = 0}},
       make_one<TraceArrivals>},
      {"poisson",
       "independent arrivals",
       {rate_spec(),
        {.name = "quantum_s",
         .default_value = 0.0,
         .unit = "s",
         .help = "arrivals of a quantum are stamped at its start; 0: exact times",
         .minimum = 0,
         .maximum = 1e6},
        {.name = "numpy_seed",
         .default_value = -1,
         .help =
             "the number of arrivals in each quantum as numpy.random.seed and poisson draw it, whatever the "
             "seed of the run; -1: from the run's own stream",
         .minimum = -1,
         .maximum = 4294967295}},
       make_poisson},
      {"gamma",
       "independent gamma gaps: burstier than Poisson for cv above 1",
       {rate_spec(),
        {.name = "cv",
         .default_value = 1.0,
         .help = "coefficient of variation of the gaps",
         .minimum = 0.01,
         .maximum = 100}},
       make_one<GammaArrivals>},
      {"constant", "equal gaps, the first request at 0", {rate_spec()}, make_one<ConstantArrivals>},
      {"closed_loop",
       "clients that send their next request when the last one ends",
       {{.name = "clients",
         .default_value = 8,
         .help = "requests in flight at most",
         .minimum = 1,
         .maximum = 1e6}},
       make_one<ClosedLoop>},
  };
  return kinds;
}

}  // namespace pagelab
