#include "experiments/trace_lengths.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/random.h"
#include "experiments/length_histogram.h"
#include "experiments/length_parameters.h"

namespace pagelab {
namespace {

TraceOptions options_of(const Parameters& p) {
  return {.file = p.text("file"),
          .format = p.text("format"),
          .prompt_column = p.text("prompt_column"),
          .output_column = p.text("output_column"),
          .time_column = p.text("time_column"),
          .client_column = p.text("client_column"),
          .priority_column = p.text("priority_column"),
          .deadline_column = p.text("deadline_column"),
          .add_output = p.integer("add_output"),
          .min_prompt = p.integer("min_prompt"),
          .max_prompt = p.integer("max_prompt"),
          .min_output = p.integer("min_output"),
          .max_output = p.integer("max_output"),
          .max_total = p.integer("max_total")};
}

/// `length` cut to `limit`, if there is one.
Tokens clipped(Tokens length, std::int64_t limit) {
  return limit > 0 ? std::min(length, Tokens(limit)) : length;
}

/// Whether the experiment says how long what ("prompt", "output") is.
bool has_margin(const KindChoice& choice, const std::string& what) {
  return !choice.parameters.integers(what + "_edges").empty() ||
         !choice.parameters.integers(what + "_counts").empty();
}

/// Every length becomes that of its rank in the histogram; equal ones share their ranks in order.
void take_ranks(std::vector<std::int32_t>& lengths, const LengthHistogram& histogram, double scale) {
  std::vector<std::uint32_t> by_length(lengths.size());
  std::iota(by_length.begin(), by_length.end(), 0U);
  std::ranges::stable_sort(by_length, {}, [&](std::uint32_t row) { return lengths[row]; });
  for (std::size_t rank = 0; rank < by_length.size(); ++rank) {
    const double share = (static_cast<double>(rank) + 0.5) / static_cast<double>(by_length.size());
    const Tokens length = scaled(histogram.quantile(share), scale);
    lengths[by_length[rank]] = static_cast<std::int32_t>(length.value());
  }
}

/// How many prompt tokens one block id covers: the sizes that fit every row seen so far.
class BlockSizes {
 public:
  explicit BlockSizes(std::int64_t given)
      : given_(given), sizes_(given > 0 ? std::vector{given} : std::vector<std::int64_t>{16, 512}) {}

  void check(const TraceRow& row, const TraceReader& reader) {
    if (row.blocks.empty()) {
      return;
    }
    std::erase_if(sizes_, [&](std::int64_t size) {
      return blocks_for(row.prompt, Tokens(size)).value() != static_cast<std::int64_t>(row.blocks.size());
    });
    if (sizes_.empty()) {
      throw InputError(fmt::format("{}: {} block ids do not fit a prompt of {} tokens{}; set block_tokens",
                                   reader.place(), row.blocks.size(), row.prompt.value(),
                                   given_ > 0 ? fmt::format(" at {} a block", given_) : ""));
    }
  }
  std::int64_t largest() const { return sizes_.back(); }

 private:
  std::int64_t given_;
  std::vector<std::int64_t> sizes_;  ///< by default those in use: this lab's derived traces, Mooncake's
};

}  // namespace

TraceLengths::TraceLengths(const KindChoice& choice, const LengthContext& context)
    : repeat_(choice.parameters.flag("repeat")),
      clip_prompt_(choice.parameters.integer("clip_prompt")),
      clip_output_(choice.parameters.integer("clip_output")),
      scale_(choice.parameters.real("scale")),
      block_tokens_(choice.parameters.integer("block_tokens")),
      has_slacks_(!choice.parameters.text("deadline_column").empty()) {
  TraceReader reader(options_of(choice.parameters));
  const bool ranked = has_margin(choice, "prompt") || has_margin(choice, "output");
  read(reader, choice.parameters, ranked ? 0 : context.requests);
  if (prompts_.empty()) {
    throw InputError(fmt::format("{}: no row is left after offset = {} and the bounds on lengths",
                                 choice.parameters.text("file"), choice.parameters.integer("offset")));
  }
  if (ranked) {
    fit_margins(choice);
    cut(context.requests);
  }
  if (choice.parameters.flag("shuffle")) {
    shuffle(context);
  }
  if (repeat_ || !order_.empty()) {
    stamps_.clear();
  }
}

void TraceLengths::read(TraceReader& reader, const Parameters& p, std::int64_t requests) {
  TraceRow row;
  for (std::int64_t i = 0; i < p.integer("offset") && reader.next(row); ++i) {
  }
  BlockSizes sizes(block_tokens_);
  bool stamped = true;
  while ((requests == 0 || static_cast<std::int64_t>(prompts_.size()) < requests) && reader.next(row)) {
    sizes.check(row, reader);
    stamped = stamped && row.time.has_value();
    add(row);
  }
  if (!stamped) {
    stamps_.clear();
  }
  block_tokens_ = sizes.largest();
}

void TraceLengths::add(const TraceRow& row) {
  const auto length = [&](Tokens tokens, std::int64_t clip) {
    return static_cast<std::int32_t>(scaled(clipped(tokens, clip), scale_).value());
  };
  if (!row.blocks.empty() && blocks_end_.empty()) {
    blocks_end_.resize(prompts_.size());
  }
  prompts_.push_back(length(row.prompt, clip_prompt_));
  outputs_.push_back(length(row.output, clip_output_));
  if (row.time) {
    stamps_.push_back(*row.time);
  }
  if (row.client) {
    clients_.push_back(*row.client);
  }
  if (row.priority) {
    priorities_.push_back(*row.priority);
  }
  if (has_slacks_) {
    slacks_.push_back(row.slack.value_or(no_slack));
  }
  if (!row.blocks.empty() || !blocks_end_.empty()) {
    blocks_.insert(blocks_.end(), row.blocks.begin(), row.blocks.end());
    blocks_end_.push_back(blocks_.size());
  }
}

void TraceLengths::fit_margins(const KindChoice& choice) {
  if (has_margin(choice, "prompt")) {
    if (!blocks_end_.empty()) {
      choice.table.fail("prompt_edges",
                        "cannot be given for a trace whose rows name the blocks of their prompts");
    }
    take_ranks(prompts_, LengthHistogram(choice, "prompt"), scale_);
  }
  if (has_margin(choice, "output")) {
    take_ranks(outputs_, LengthHistogram(choice, "output"), scale_);
  }
  const Tokens most(choice.parameters.integer("max_total"));
  if (most > Tokens(0)) {
    const std::int64_t longest = scaled(most, scale_).value();
    for (std::size_t row = 0; row < prompts_.size(); ++row) {
      const auto left = static_cast<std::int32_t>(std::max<std::int64_t>(longest - prompts_[row], 1));
      outputs_[row] = std::min(outputs_[row], left);
    }
  }
}

void TraceLengths::cut(std::int64_t requests) {
  const auto rows = static_cast<std::size_t>(requests);
  if (requests == 0 || rows >= prompts_.size()) {
    return;
  }
  const auto shorten = [rows](auto& column) { column.resize(std::min(column.size(), rows)); };
  shorten(prompts_);
  shorten(outputs_);
  shorten(stamps_);
  shorten(clients_);
  shorten(priorities_);
  shorten(slacks_);
  shorten(blocks_end_);
}

/// As the authors of PagedAttention make their traces: the rows in the order of the file, from the beginning
/// again if there are too few, cut to the number of requests, and that list shuffled (Fisher and Yates).
void TraceLengths::shuffle(const LengthContext& context) {
  const std::size_t rows = prompts_.size();
  order_.resize(repeat_ ? static_cast<std::size_t>(context.requests) : rows);
  for (std::size_t i = 0; i < order_.size(); ++i) {
    order_[i] = static_cast<std::uint32_t>(i % rows);
  }
  RandomStream random(context.seed, "shuffle");
  for (std::size_t left = order_.size(); left > 1; --left) {
    std::swap(order_[left - 1], order_[random.below(left)]);
  }
}

RequestShape TraceLengths::next() {
  const std::size_t row = order_.empty() ? position_ % prompts_.size() : order_.at(position_);
  ++position_;
  RequestShape shape;
  shape.prompt = Tokens(prompts_[row]);
  shape.output = Tokens(outputs_[row]);
  if (!stamps_.empty()) {
    shape.stamp = stamps_[row];
  }
  if (!clients_.empty()) {
    shape.client = clients_[row];
  }
  if (!priorities_.empty()) {
    shape.priority = priorities_[row];
  }
  if (has_slacks_ && slacks_[row] != no_slack) {
    shape.slack = slacks_[row];
  }
  if (!blocks_end_.empty()) {
    const std::size_t begin = row == 0 ? 0 : blocks_end_[row - 1];
    shape.blocks.assign(blocks_.begin() + static_cast<std::ptrdiff_t>(begin),
                        blocks_.begin() + static_cast<std::ptrdiff_t>(blocks_end_[row]));
    // Both are rounded up, so the scaled prompt never needs more blocks than it has ids.
    shape.block_tokens = scaled(Tokens(block_tokens_), scale_);
  }
  return shape;
}

std::optional<std::int64_t> TraceLengths::total() const {
  return repeat_ ? std::nullopt : std::optional(static_cast<std::int64_t>(prompts_.size()));
}

std::optional<Seconds> TraceLengths::stamp(std::int64_t request) const {
  const auto row = static_cast<std::size_t>(request);
  return row < stamps_.size() ? std::optional(stamps_[row]) : std::nullopt;
}

std::vector<ParameterSpec> trace_length_parameters() {
  ParameterSpec offset = bound_spec("offset", "rows passed over first");
  offset.unit = "rows";
  std::vector<ParameterSpec> specs = {
      {.name = "file",
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
      {.name = "client_column", .default_value = "", .help = "CSV column of client numbers; empty: none"},
      {.name = "priority_column",
       .default_value = "",
       .help = "CSV column of priorities, larger is more urgent; empty: none"},
      {.name = "deadline_column",
       .default_value = "",
       .help = "CSV column of deadlines, in s after the arrival, or empty cells; empty: none"},
      scale_spec(),
      bound_spec("add_output", "added to every output, such as a token that the tokenizer puts first"),
      bound_spec("min_prompt", "rows with shorter prompts are passed over, before clipping and scaling"),
      bound_spec("max_prompt",
                 "rows with longer prompts are passed over, before clipping and scaling; 0: none"),
      bound_spec("min_output", "rows with shorter outputs are passed over, before clipping and scaling"),
      bound_spec("max_output",
                 "rows with longer outputs are passed over, before clipping and scaling; 0: none"),
      bound_spec("max_total",
                 "rows with a longer prompt + output are passed over, before clipping and scaling; 0: none"),
      bound_spec("clip_prompt", "longer prompts become this, before scaling; 0: none"),
      bound_spec("clip_output", "longer outputs become this, before scaling; 0: none"),
      offset,
      {.name = "repeat",
       .default_value = false,
       .help = "start over at the end of the file; without time stamps"},
      {.name = "shuffle",
       .default_value = false,
       .help = "the rows that are used in random order; without time stamps"},
      bound_spec("block_tokens", "prompt tokens that one of hash_ids covers; 0: 16 or 512, whichever fits")};
  for (ParameterSpec& margin : histogram_parameters(false)) {
    margin.help += "; lengths are taken from there by their rank in the trace, outputs cut to max_total";
    specs.push_back(std::move(margin));
  }
  return specs;
}

}  // namespace pagelab
