#include "experiments/lengths.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/random.h"
#include "experiments/trace.h"

namespace pagelab {
namespace {

constexpr std::int64_t kLongest = std::numeric_limits<std::int32_t>::max();

ParameterSpec length(std::string name, std::int64_t standard, std::string help) {
  return {.name = std::move(name),
          .default_value = standard,
          .unit = "tokens",
          .help = std::move(help),
          .minimum = 1,
          .maximum = kLongest};
}

/// A bound on a trace's lengths: 0 is none.
ParameterSpec bound(std::string name, std::string help) {
  ParameterSpec spec = length(std::move(name), 0, std::move(help));
  spec.minimum = 0;
  return spec;
}

ParameterSpec scale_spec() {
  return {.name = "scale",
          .default_value = 1.0,
          .help = "factor on prompt and output lengths, rounded up to at least 1 token",
          .maximum = 1e6,
          .above = 0};
}

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

/// Integer counts over bins [edge i, edge i+1): a bin is drawn by its count, then a length uniformly inside
/// it.
class Histogram {
 public:
  Histogram(const KindChoice& choice, const std::string& what)
      : edges_(choice.parameters.integers(what + "_edges")) {
    const IntegerList& counts = choice.parameters.integers(what + "_counts");
    if (edges_.size() != counts.size() + 1) {
      choice.table.fail(what + "_edges", fmt::format("has {} edges; {} bins in {}_counts need {}",
                                                     edges_.size(), counts.size(), what, counts.size() + 1));
    }
    if (std::ranges::adjacent_find(edges_, std::greater_equal<>()) != edges_.end()) {
      choice.table.fail(what + "_edges", "must grow from edge to edge");
    }
    std::uint64_t sum = 0;
    for (const std::int64_t count : counts) {
      sum += static_cast<std::uint64_t>(count);  // counts are at most 1e12, so many millions of bins fit
      cumulative_.push_back(sum);
    }
    if (sum == 0) {
      choice.table.fail(what + "_counts", "holds no count above 0");
    }
  }
  Tokens draw(RandomStream& random) const {
    const std::uint64_t place = random.below(cumulative_.back());
    const auto bin =
        static_cast<std::size_t>(std::ranges::upper_bound(cumulative_, place) - cumulative_.begin());
    const auto width = static_cast<std::uint64_t>(edges_[bin + 1] - edges_[bin]);
    return Tokens(edges_[bin] + static_cast<std::int64_t>(random.below(width)));
  }

 private:
  IntegerList edges_;
  std::vector<std::uint64_t> cumulative_;
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
  Histogram prompt_, output_;
  Tokens max_total_;
  double scale_;
};

class TraceLengths final : public LengthSource {
 public:
  /// Reads the trace once, up to the last row needed, so that its errors come before the run and its length
  /// is known.
  TraceLengths(const KindChoice& choice, const LengthContext& context)
      : options_(options_of(choice.parameters)),
        offset_(choice.parameters.integer("offset")),
        scale_(choice.parameters.real("scale")),
        block_tokens_(choice.parameters.integer("block_tokens")) {
    survey(context.requests);
    if (total_ == 0) {
      throw InputError(fmt::format("{}: no row is left after offset = {} and the bounds on lengths",
                                   options_.file, offset_));
    }
    open();
  }

  RequestShape next() override {
    TraceRow row;
    if (!reader_->next(row)) {
      throw InputError(fmt::format("{}: the file changed while it was read", options_.file));
    }
    RequestShape shape;
    shape.prompt = scaled(row.prompt, scale_);
    shape.output = scaled(row.output, scale_);
    shape.stamp = row.time;
    shape.blocks = std::move(row.blocks);
    // Both are rounded up, so the scaled prompt never needs more blocks than it has ids.
    shape.block_tokens = scaled(Tokens(block_tokens_), scale_);
    return shape;
  }
  std::optional<std::int64_t> total() const override { return total_; }
  bool has_stamps() const override { return has_stamps_; }

 private:
  static TraceOptions options_of(const Parameters& p) {
    return {.file = p.text("file"),
            .format = p.text("format"),
            .prompt_column = p.text("prompt_column"),
            .output_column = p.text("output_column"),
            .time_column = p.text("time_column"),
            .min_prompt = p.integer("min_prompt"),
            .max_prompt = p.integer("max_prompt"),
            .min_output = p.integer("min_output"),
            .max_output = p.integer("max_output"),
            .max_total = p.integer("max_total")};
  }

  void open() {
    reader_.emplace(options_);
    TraceRow row;
    for (std::int64_t i = 0; i < offset_ && reader_->next(row); ++i) {
    }
  }

  void survey(std::int64_t requests) {
    open();
    std::vector<std::int64_t> sizes = {
        16, 512};  // of the block ids in use: this lab's derived traces, Mooncake's
    if (block_tokens_ > 0) {
      sizes = {block_tokens_};
    }
    TraceRow row;
    while ((requests == 0 || total_ < requests) && reader_->next(row)) {
      ++total_;
      has_stamps_ = has_stamps_ && row.time.has_value();
      if (!row.blocks.empty()) {
        std::erase_if(sizes, [&](std::int64_t size) {
          const Blocks needed = blocks_for(row.prompt, Tokens(size));
          return needed.value() != static_cast<std::int64_t>(row.blocks.size());
        });
      }
      if (sizes.empty()) {
        throw InputError(fmt::format("{}: {} block ids do not fit a prompt of {} tokens{}; set block_tokens",
                                     reader_->place(), row.blocks.size(), row.prompt.value(),
                                     block_tokens_ > 0 ? fmt::format(" at {} a block", block_tokens_) : ""));
      }
    }
    block_tokens_ = sizes.back();
  }

  TraceOptions options_;
  std::int64_t offset_;
  double scale_;
  std::int64_t block_tokens_;
  std::optional<TraceReader> reader_;
  std::int64_t total_ = 0;
  bool has_stamps_ = true;
};

template <class Source>
std::unique_ptr<LengthSource> make(const KindChoice& choice, LengthContext context) {
  return std::make_unique<Source>(choice, context);
}

std::vector<ParameterSpec> histogram_parameters() {
  const auto list = [](const char* name, const char* unit, const char* help, int minimum) {
    return ParameterSpec{.name = name,
                         .default_value = IntegerList{},
                         .unit = unit,
                         .help = help,
                         .minimum = minimum,
                         .maximum = minimum == 0 ? 1e12 : static_cast<double>(kLongest),
                         .required = true};
  };
  return {
      list("prompt_edges", "tokens", "lower edges of the bins, and the end of the last one (exclusive)", 1),
      list("prompt_counts", "", "requests in each bin", 0),
      list("output_edges", "tokens", "lower edges of the bins, and the end of the last one (exclusive)", 1),
      list("output_counts", "", "requests in each bin", 0),
      bound("max_total", "pairs with a longer prompt + output are drawn again, before scaling; 0: none"),
      scale_spec()};
}

std::vector<ParameterSpec> trace_parameters() {
  ParameterSpec offset = bound("offset", "rows passed over first");
  offset.unit = "rows";
  return {{.name = "file",
           .default_value = "",
           .help = "the trace; may be xz-compressed",
           .required = true,
           .path = true},
          {.name = "format", .default_value = "auto", .help = "how to read it", .choices = trace_formats()},
          {.name = "prompt_column",
           .default_value = "",
           .help = "CSV column of prompt lengths; empty: the format's"},
          {.name = "output_column",
           .default_value = "",
           .help = "CSV column of output lengths; empty: the format's"},
          {.name = "time_column",
           .default_value = "",
           .help = "CSV column of arrival times; empty: the format's"},
          scale_spec(),
          bound("min_prompt", "rows with shorter prompts are passed over, before scaling"),
          bound("max_prompt", "rows with longer prompts are passed over, before scaling; 0: none"),
          bound("min_output", "rows with shorter outputs are passed over, before scaling"),
          bound("max_output", "rows with longer outputs are passed over, before scaling; 0: none"),
          bound("max_total", "rows with a longer prompt + output are passed over, before scaling; 0: none"),
          offset,
          bound("block_tokens", "prompt tokens that one of hash_ids covers; 0: 16 or 512, whichever fits")};
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
          .maximum = kLongest,
          .above = 0};
}

}  // namespace

Tokens scaled(Tokens length, double scale) {
  const double value = std::ceil(static_cast<double>(length.value()) * scale - 1e-9);
  return Tokens(static_cast<std::int64_t>(std::clamp(value, 1.0, static_cast<double>(kLongest))));
}

const std::vector<Kind<LengthSource, LengthContext>>& length_kinds() {
  static const std::vector<Kind<LengthSource, LengthContext>> kinds = {
      {"fixed",
       "every request alike",
       {length("prompt", 128, "prompt length"), length("output", 128, "output length")},
       make<FixedLengths>},
      {"uniform",
       "uniform between two lengths, both included",
       {length("prompt_min", 1, "shortest prompt"), length("prompt_max", 256, "longest prompt"),
        length("output_min", 1, "shortest output"), length("output_max", 256, "longest output")},
       make<IndependentLengths<Uniform>>},
      {"lognormal",
       "lognormal with a mean and a coefficient of variation",
       {mean_spec("prompt_mean", 160), cv_spec("prompt_cv"),
        length("prompt_max", 1024, "longer ones become this"), mean_spec("output_mean", 160),
        cv_spec("output_cv"), length("output_max", 1024, "longer ones become this")},
       make<IndependentLengths<Lognormal>>},
      {"histogram", "from integer counts of bins", histogram_parameters(), make<HistogramLengths>},
      {"trace", "from a file of request lengths", trace_parameters(), make<TraceLengths>},
  };
  return kinds;
}

}  // namespace pagelab
