#include "experiments/list_lengths.h"

#include <fmt/format.h>

#include <algorithm>

#include "experiments/length_parameters.h"

namespace pagelab {
namespace {

ParameterSpec list_spec(std::string name, std::string unit, std::string help, double minimum, double maximum,
                        bool required = false) {
  return {.name = std::move(name),
          .default_value = IntegerList{},
          .unit = std::move(unit),
          .help = std::move(help),
          .minimum = minimum,
          .maximum = maximum,
          .required = required};
}

std::int64_t entry(const IntegerList& list, std::size_t place) {
  return list.empty() ? 0 : list[place];
}

}  // namespace

std::vector<ParameterSpec> list_length_parameters() {
  constexpr auto most = static_cast<double>(longest_length);
  return {
      list_spec("prompt", "tokens", "of each request", 1, most, true),
      list_spec("output", "tokens", "of each sequence of each request", 1, most, true),
      {.name = "arrival_s",
       .default_value = RealList{},
       .unit = "s",
       .help = "when each request comes, for arrivals of kind 'trace'; empty: not said",
       .minimum = 0,
       .maximum = 1e9},
      list_spec("client", "", "who sends each request, for arrivals of kind 'trace'; empty: 0", 0, most),
      list_spec("sequences", "", "parallel samples or beams of each request; 0, empty: sampling.n", 0, 256),
      list_spec("family", "", "requests of one family have their prompts' beginning in common; empty: 0", 0,
                most),
      list_spec("common", "tokens", "so many first tokens of each prompt are its family's; empty: none", 0,
                most)};
}

ListLengths::ListLengths(const KindChoice& choice, const LengthContext&)
    : prompts_(choice.parameters.integers("prompt")),
      outputs_(choice.parameters.integers("output")),
      clients_(choice.parameters.integers("client")),
      sequences_(choice.parameters.integers("sequences")),
      families_(choice.parameters.integers("family")),
      common_(choice.parameters.integers("common")),
      arrivals_(choice.parameters.reals("arrival_s")) {
  if (prompts_.empty()) {
    choice.table.fail("prompt", "is empty; it must name at least one request");
  }
  const auto check = [&](const char* key, std::size_t entries) {
    if (entries != 0 && entries != prompts_.size()) {
      choice.table.fail(key, fmt::format("has {} entries, but 'prompt' has {}", entries, prompts_.size()));
    }
  };
  check("client", clients_.size());
  check("sequences", sequences_.size());
  check("family", families_.size());
  check("common", common_.size());
  check("arrival_s", arrivals_.size());
  if (outputs_.size() != prompts_.size()) {
    choice.table.fail("output",
                      fmt::format("has {} entries, but 'prompt' has {}", outputs_.size(), prompts_.size()));
  }
  if (!std::ranges::is_sorted(arrivals_)) {
    choice.table.fail("arrival_s", "must not go back in time");
  }
}

RequestShape ListLengths::next() {
  const std::size_t place = position_++;
  RequestShape shape;
  shape.prompt = Tokens(prompts_.at(place));
  shape.output = Tokens(outputs_.at(place));
  shape.stamp = stamp(static_cast<std::int64_t>(place));
  shape.client = static_cast<std::int32_t>(entry(clients_, place));
  shape.sequences = static_cast<std::int32_t>(entry(sequences_, place));
  const std::int64_t common = std::min(entry(common_, place), shape.prompt.value());
  if (common == 0) {
    return shape;
  }
  // Every token is a block of its own: those in common are named by the family, the others by the request.
  constexpr std::uint64_t by_request = std::uint64_t{1} << 63;
  const auto family = static_cast<std::uint64_t>(entry(families_, place)) << 31;
  const auto own = by_request | static_cast<std::uint64_t>(place) << 31;
  for (std::int64_t i = 0; i < shape.prompt.value(); ++i) {
    shape.blocks.push_back((i < common ? family : own) | static_cast<std::uint64_t>(i));
  }
  return shape;
}

std::optional<Seconds> ListLengths::stamp(std::int64_t request) const {
  const auto place = static_cast<std::size_t>(request);
  return place < arrivals_.size() ? std::optional(Seconds(arrivals_[place])) : std::nullopt;
}

}  // namespace pagelab
