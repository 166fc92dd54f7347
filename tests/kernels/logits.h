// Inputs of sampling tests, for every backend.
#pragma once

#include <rapidcheck.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace pagelab::testing {

/// `count` numbers evenly over (0, 1).
inline std::vector<float> even_uniforms(std::int32_t count) {
  std::vector<float> out;
  for (std::int32_t i = 0; i < count; ++i) {
    out.push_back((static_cast<float>(i) + 0.5f) / static_cast<float>(count));
  }
  return out;
}

/// Logits of some width, with ties, zeros of both signs and masked tokens now and then. Within a property.
inline std::vector<float> draw_logits(std::int32_t count) {
  const auto width = *rc::gen::element(0.01f, 1.0f, 8.0f, 60.0f);
  const bool ties = *rc::gen::arbitrary<bool>();
  const bool masks = *rc::gen::arbitrary<bool>();
  std::mt19937 random(*rc::gen::arbitrary<unsigned>());
  std::normal_distribution<float> normal(1.0f, width);
  std::vector<float> logits(static_cast<std::size_t>(count));
  for (float& logit : logits) {
    logit = ties ? std::round(normal(random)) : normal(random);
    if (masks && random() % 4 == 0) {
      logit = -std::numeric_limits<float>::infinity();
    }
  }
  logits[random() % logits.size()] = width;
  return logits;
}

}  // namespace pagelab::testing
