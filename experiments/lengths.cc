#include "experiments/lengths.h"

#include <fmt/format.h>

#include <cmath>

#include "core/random.h"
#include "experiments/length_histogram.h"
#include "experiments/length_parameters.h"
#include "experiments/list_lengths.h"
#include "experiments/trace_lengths.h"

namespace pagelab {
namespace {

/// Lengths drawn one request after another from the stream "lengths".
class DrawnLengths : public LengthSource {
 public:
  explicit DrawnLengths(const LengthContext& context) : random_(context.seed, "lengths") {}

 protected:
  RandomStream& random() { return random_; }

 private:
  RandomStream random_;
};

class FixedLengths final : public LengthSource {
 public:
  FixedLengths(const KindChoice& choice, const LengthContext&) {
    shape_.prompt = Tokens(choice.parameters.integer("prompt"));
    shape_.output = Tokens(choice.parameters.integer("output"));
  }
  RequestShape next() override { return shape_; }

 private:
  RequestShape shape_;
};

/// Prompt and output drawn independently from two distributions of one kind.
template <class Distribution>
class IndependentLengths final : public DrawnLengths {
 public:
  IndependentLengths(const KindChoice& choice, const LengthContext& context)
      : DrawnLengths(context), prompt_(choice, "prompt"), output_(choice, "output") {}
  RequestShape next() override {
    RequestShape shape;
    shape.prompt = prompt_.draw(random());
    shape.output = output_.draw(random());
    return shape;
  }

 private:
  Distribution prompt_, output_;
};

class Uniform {
 public:
  Uniform(const KindChoice& choice, const std::string& what)
      : low_(choice.parameters.integer(what + "_min")), high_(choice.parameters.integer(what + "_max")) {
    if (high_ < low_) {
      choice.table.fail(what + "_max", fmt::format("is {}, but {}_min is {}", high_, what, low_));
    }
  }
  Tokens draw(RandomStream& random) const {
    return Tokens(low_ +
                  static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(high_ - low_ + 1))));
  }

 private:
  std::int64_t low_, high_;
};

class Lognormal {
 public:
  Lognormal(const KindChoice& choice, const std::string& what)
      : longest_(choice.parameters.integer(what + "_max")) {
    const double cv = choice.parameters.real(what + "_cv");
    sigma_ = std::sqrt(std::log1p(cv * cv));
    mu_ = std::log(choice.parameters.real(what + "_mean")) - sigma_ * sigma_ / 2;
  }
  Tokens draw(RandomStream& random) const {
    const double value = std::round(std::exp(mu_ + sigma_ * random.normal()));
    return Tokens(value < static_cast<double>(longest_)
                      ? std::max<std::int64_t>(1, static_cast<std::int64_t>(value))
                      : longest_);
  }

 private:
  double mu_, sigma_;
  std::int64_t longest_;
};

class HistogramLengths final : public DrawnLengths {
 public:
  HistogramLengths(const KindChoice& choice, const LengthContext& context)
      : DrawnLengths(context),
        choice_(choice),
        prompt_(choice, "prompt"),
        output_(choice, "output"),
        max_total_(choice.parameters.integer("max_total")),
        scale_(choice.parameters.real("scale")) {}

  /// Pairs longer than max_total are drawn again, as the paper's runs leave such pairs out (SOSP'23,
  /// section 6.1).
  RequestShape next() override {
    constexpr int kTries = 10000;
    for (int i = 0; i < kTries; ++i) {
      const Tokens prompt = prompt_.draw(random());
      const Tokens output = output_.draw(random());
      if (max_total_.value() == 0 || prompt + output <= max_total_) {
        RequestShape shape;
        shape.prompt = scaled(prompt, scale_);
        shape.output = scaled(output, scale_);
        return shape;
      }
    }
    choice_.table.fail("max_total", fmt::format("is {}: {} draws from the histograms were all longer",
                                                max_total_.value(), kTries));
  }

 private:
  KindChoice choice_;
  LengthHistogram prompt_, output_;
  Tokens max_total_;
  double scale_;
};

std::vector<ParameterSpec> histogram_length_parameters() {
  std::vector<ParameterSpec> specs = histogram_parameters(true);
  specs.push_back(bound_spec("max_total",
                             "pairs with a longer prompt + output are drawn again, before scaling; 0: none"));
  specs.push_back(scale_spec());
  return specs;
}

ParameterSpec cv_spec(std::string name) {
  return {.name = std::move(name),
          .default_value = 1.0,
          .help = "coefficient of variation: standard deviation / mean",
          .minimum = 0,
          .maximum = 100};
}

ParameterSpec mean_spec(std::string name, double standard) {
  return {.name = std::move(name),
          .default_value = standard,
          .unit = "tokens",
          .help = "before rounding and the maximum",
          .maximum = static_cast<double>(longest_length),
          .above = 0};
}

}  // namespace

Tokens scaled(Tokens length, double scale) {
  const double value = std::ceil(static_cast<double>(length.value()) * scale - 1e-9);
  return Tokens(static_cast<std::int64_t>(std::clamp(value, 1.0, static_cast<double>(longest_length))));
}

const std::vector<Kind<LengthSource, LengthContext>>& length_kinds() {
  static const std::vector<Kind<LengthSource, LengthContext>> kinds = {
      {"fixed",
       "every request alike",
       {length_spec("prompt", 128, "prompt length"), length_spec("output", 128, "output length")},
       make_one<FixedLengths>},
      {"uniform",
       "uniform between two lengths, both included",
       {length_spec("prompt_min", 1, "shortest prompt"), length_spec("prompt_max", 256, "longest prompt"),
        length_spec("output_min", 1, "shortest output"), length_spec("output_max", 256, "longest output")},
       make_one<IndependentLengths<Uniform>>},
      {"lognormal",
       "lognormal with a mean and a coefficient of variation",
       {mean_spec("prompt_mean", 160), cv_spec("prompt_cv"),
        length_spec("prompt_max", 1024, "longer ones become this"), mean_spec("output_mean", 160),
        cv_spec("output_cv"), length_spec("output_max", 1024, "longer ones become this")},
       make_one<IndependentLengths<Lognormal>>},
      {"histogram", "from integer counts of bins", histogram_length_parameters(), make_one<HistogramLengths>},
      {"trace", "from a file of request lengths", trace_length_parameters(), make_one<TraceLengths>},
      {"list", "one by one, as written here", list_length_parameters(), make_one<ListLengths>},
  };
  return kinds;
}

}  // namespace pagelab
