#include "kernels/reference/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace pagelab::kernels::reference {

std::vector<double> log_softmax(std::span<const float> logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) {
    sum += std::exp(logit - max);
  }
  std::vector<double> out;
  for (const float logit : logits) {
    out.push_back(logit - max - std::log(sum));
  }
  return out;
}

std::vector<std::int32_t> ranking(std::span<const float> logits) {
  std::vector<std::int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](std::int32_t a, std::int32_t b) {
    return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
  });
  return ids;
}

std::vector<double> draw_probabilities(std::span<const float> logits, const SampleSpec& spec) {
  std::vector<std::int32_t> ids = ranking(logits);
  const double max = logits[static_cast<std::size_t>(ids[0])];
  const auto weight = [&](std::int32_t id) {
    return std::exp((logits[static_cast<std::size_t>(id)] - max) / spec.temperature);
  };
  if (spec.top_k > 0) {
    ids.resize(std::min(ids.size(), static_cast<std::size_t>(spec.top_k)));
  }
  const auto sum_of = [&] {
    return std::accumulate(ids.begin(), ids.end(), 0.0,
                           [&](double sum, std::int32_t id) { return sum + weight(id); });
  };
  if (spec.top_p < 1) {
    const double target = double{spec.top_p} * sum_of();
    double sum = 0;
    std::size_t kept = 0;
    while (kept < ids.size() && (kept == 0 || sum < target)) {
      sum += weight(ids[kept++]);
    }
    ids.resize(kept);
  }
  const double total = sum_of();
  std::vector<double> out(logits.size(), 0.0);
  for (const std::int32_t id : ids) {
    out[static_cast<std::size_t>(id)] = weight(id) / total;
  }
  return out;
}

std::int32_t draw(std::span<const double> probabilities, double uniform) {
  double sum = 0;
  std::int32_t last = 0;
  for (std::size_t i = 0; i < probabilities.size(); ++i) {
    if (probabilities[i] > 0) {
      last = static_cast<std::int32_t>(i);
      sum += probabilities[i];
      if (sum > uniform) {
        break;
      }
    }
  }
  return last;
}

}  // namespace pagelab::kernels::reference
