#include "core/beam_search.h"

#include <algorithm>
#include <cmath>

namespace pagelab {

void BeamSearch::complete(SequenceGroup& group, const Child& child, double length_factor) {
  const double score = child.score / length_factor;
  const auto place = std::find_if(group.done.begin(), group.done.end(),
                                  [&](const FinishedSequence& other) { return other.score < score; });
  const auto width = static_cast<std::size_t>(group.width());
  if (place == group.done.end() && group.done.size() == width) {
    return;
  }
  const Sequence& parent = group.live[child.parent];
  FinishedSequence finished{parent.sample, parent.output, parent.logprobs, score};
  finished.output.push_back(child.token);
  finished.logprobs.push_back(child.logprob);
  group.done.insert(place, std::move(finished));
  if (group.done.size() > width) {
    group.done.pop_back();
  }
}

std::span<const BeamSearch::Child> BeamSearch::advance(SequenceGroup& group,
                                                       std::span<const TokenCandidate> candidates) {
  const auto width = static_cast<std::size_t>(group.width());
  const Request& request = group.request;
  ranked_.clear();
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const std::size_t parent = i / (2 * width);
    const TokenCandidate& candidate = candidates[i];
    ranked_.push_back({parent, candidate.token, candidate.logprob,
                       group.live[parent].score + static_cast<double>(candidate.logprob)});
  }
  const std::size_t best = std::min(ranked_.size(), 2 * width);
  std::partial_sort(ranked_.begin(), ranked_.begin() + static_cast<std::ptrdiff_t>(best), ranked_.end(),
                    [](const Child& a, const Child& b) {
                      if (a.score != b.score) {
                        return a.score > b.score;
                      }
                      return a.parent != b.parent ? a.parent < b.parent : a.token < b.token;
                    });
  ranked_.resize(best);

  const auto length = static_cast<std::int64_t>(group.live.front().output.size()) + 1;
  const auto length_factor = [&] {
    return std::pow(static_cast<double>(length), static_cast<double>(request.sampling.length_penalty));
  };
  const bool last = length == request.max_output.value();
  const auto ends = [&](const Child& child) {
    return last || (!request.forced_output && child.token == request.sampling.eos);
  };
  next_.clear();
  for (std::size_t rank = 0; rank < ranked_.size(); ++rank) {
    const Child& child = ranked_[rank];
    if (!ends(child)) {
      if (next_.size() < width) {
        next_.push_back(child);
      }
    } else if (rank < width) {  // a hypothesis that ends below the best `width` is dropped for good
      complete(group, child, length_factor());
    }
  }
  const bool settled = group.done.size() == width && !next_.empty() &&
                       next_.front().score / length_factor() <= group.done.back().score;
  if (settled) {
    next_.clear();
  }
  return next_;
}

}  // namespace pagelab
