// Sampling against the reference on every SIMD target: candidates, log-probabilities, the kept set and its
// distribution, and what is refused.
#include "kernels/cpu/sampling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/reference/sampling.h"
#include "tests/kernels/logits.h"
#include "tests/kernels/simd_targets.h"

namespace pagelab::kernels {
namespace {

using Kind = SampleSpec::Kind;
using pagelab::testing::draw_logits;
using pagelab::testing::even_uniforms;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<Candidate> sample_row(std::vector<float> logits, const SampleSpec& spec,
                                  const std::vector<float>& uniforms) {
  cpu::ThreadPool pool(1);
  std::vector<Candidate> out(static_cast<std::size_t>(spec.count));
  const std::vector<std::int32_t> indptr = {0, spec.count};
  cpu::sample(pool, {logits.data(), 1, static_cast<std::int32_t>(logits.size())}, {&spec, 1}, indptr,
              uniforms, out);
  return out;
}

std::vector<float> some_logits() {
  return draw_logits(*rc::gen::oneOf(rc::gen::inRange(1, 40), rc::gen::inRange(1, 3000)));
}

RC_GTEST_PROP(Sampling, GreedyAndTopMatchTheReferenceOnEveryTarget, ()) {
  const std::vector<float> logits = some_logits();
  SampleSpec spec;
  spec.kind = *rc::gen::element(Kind::greedy, Kind::top);
  spec.count = spec.kind == Kind::greedy ? 1 : *rc::gen::inRange(1, static_cast<int>(logits.size()) + 1);
  const std::vector<std::int32_t> ranking = reference::ranking(logits);
  const std::vector<double> logprobs = reference::log_softmax(logits);
  for_each_simd_target([&] {
    const std::vector<Candidate> out =
        sample_row(logits, spec, std::vector<float>(static_cast<std::size_t>(spec.count)));
    for (std::size_t i = 0; i < out.size(); ++i) {
      RC_ASSERT(out[i].token == ranking[i]);
      const double expected = logprobs[static_cast<std::size_t>(ranking[i])];
      RC_ASSERT(static_cast<double>(out[i].logprob) == expected ||
                std::abs(out[i].logprob - expected) < 1e-5 + 1e-6 * std::abs(expected));
    }
  });
}

RC_GTEST_PROP(Sampling, RandomDrawsFollowTheReferenceOnEveryTarget, ()) {
  const std::vector<float> logits = some_logits();
  SampleSpec spec;
  spec.kind = Kind::random;
  spec.count = 20;
  spec.temperature = *rc::gen::element(0.1f, 0.7f, 1.0f, 3.0f);
  spec.top_k = *rc::gen::element(0, 1, 5, 50, 5000);
  spec.top_p = *rc::gen::element(0.001f, 0.3f, 0.9f, 0.999f, 1.0f);
  const std::vector<float> uniforms = even_uniforms(spec.count);
  const std::vector<double> logprobs = reference::log_softmax(logits);
  const std::vector<double> probabilities = reference::draw_probabilities(logits, spec);
  for_each_simd_target([&] {
    const std::vector<Candidate> out = sample_row(logits, spec, uniforms);
    for (std::size_t i = 0; i < out.size(); ++i) {
      // Rounding may move a draw that falls on the border of two tokens.
      const double u = static_cast<double>(uniforms[i]);
      const std::int32_t low = reference::draw(probabilities, u - 1e-4);
      const std::int32_t high = reference::draw(probabilities, u + 1e-4);
      RC_ASSERT(out[i].token >= low);
      RC_ASSERT(out[i].token <= high);
      RC_ASSERT(std::abs(out[i].logprob - logprobs[static_cast<std::size_t>(out[i].token)]) < 1e-4);
    }
  });
}

TEST(Sampling, DrawsHaveTheDistributionOfTheKeptTokens) {
  // Four tokens kept of six: chi-square with 3 degrees of freedom is below 16.3 in all but 0.1 % of cases.
  const std::vector<float> logits = {1.0f, 0.0f, -1.0f, 2.0f, 0.5f, -3.0f};
  SampleSpec spec{.kind = Kind::random, .count = 20000, .temperature = 0.8f, .top_k = 4};
  std::mt19937 random(12345);
  std::vector<float> uniforms;
  for (std::int32_t i = 0; i < spec.count; ++i) {
    uniforms.push_back(static_cast<float>(random() >> 8) * 0x1p-24f);
  }
  const std::vector<double> probabilities = reference::draw_probabilities(logits, spec);
  for_each_simd_target([&] {
    std::vector<double> counts(logits.size());
    for (const Candidate& candidate : sample_row(logits, spec, uniforms)) {
      counts[static_cast<std::size_t>(candidate.token)] += 1;
    }
    double chi_square = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      if (probabilities[i] == 0) {
        EXPECT_EQ(counts[i], 0);
      } else {
        const double expected = probabilities[i] * spec.count;
        chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
      }
    }
    EXPECT_LT(chi_square, 16.3);
    EXPECT_GT(chi_square, 0.01);
  });
}

std::vector<std::int32_t> drawn_tokens(const std::vector<float>& logits, SampleSpec spec) {
  spec.kind = Kind::random;
  spec.count = 500;
  std::vector<std::int32_t> tokens;
  for (const Candidate& candidate : sample_row(logits, spec, even_uniforms(spec.count))) {
    tokens.push_back(candidate.token);
  }
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  return tokens;
}

using Ids = std::vector<std::int32_t>;

TEST(Sampling, TiesAtTheEdgeOfTopKGoToTheSmallerIds) {
  EXPECT_EQ(drawn_tokens({1, 3, 2, 2, 2}, {.top_k = 3}), (Ids{1, 2, 3}));
  EXPECT_EQ(drawn_tokens({5, 5, 5}, {.top_k = 1}), (Ids{0}));
}

TEST(Sampling, TopPKeepsTheTokenThatCrossesItAndAlwaysTheFirst) {
  const std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
  EXPECT_EQ(drawn_tokens(logits, {.top_p = 0.1f}), (Ids{1}));
  EXPECT_EQ(drawn_tokens(logits, {.top_p = 0.49f}), (Ids{1}));
  EXPECT_EQ(drawn_tokens(logits, {.top_p = 0.6f}), (Ids{1, 2}));
  EXPECT_EQ(drawn_tokens(logits, {.top_p = 0.9f}), (Ids{0, 1, 2}));
}

TEST(Sampling, TopPCountsAfterTopK) {
  // Of the two kept by top_k the first holds 0.5 / 0.8.
  const std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
  EXPECT_EQ(drawn_tokens(logits, {.top_k = 2, .top_p = 0.6f}), (Ids{1}));
  EXPECT_EQ(drawn_tokens(logits, {.top_k = 2, .top_p = 0.7f}), (Ids{1, 2}));
}

TEST(Sampling, MaskedTokensAreNeverDrawn) {
  EXPECT_EQ(drawn_tokens({-kInfinity, 0, -kInfinity, 1}, {.temperature = 5}), (Ids{1, 3}));
  EXPECT_EQ(drawn_tokens({-kInfinity, 0, -kInfinity}, {.top_k = 3}), (Ids{1}));
}

TEST(Sampling, EqualLogitsBesideMaskedOnesAreRankedById) {
  for_each_simd_target([] {
    std::vector<float> logits(100, -kInfinity);
    logits[7] = logits[60] = logits[99] = 2.0f;
    EXPECT_EQ(drawn_tokens(logits, {.top_k = 2}), (Ids{7, 60}));
    const std::vector<Candidate> top =
        sample_row(logits, {.kind = Kind::top, .count = 3}, std::vector<float>(3));
    EXPECT_EQ((Ids{top[0].token, top[1].token, top[2].token}), (Ids{7, 60, 99}));
  });
}

TEST(Sampling, TheEndsOfTheUniformRangeDrawKeptTokens) {
  const SampleSpec spec{.kind = Kind::random, .count = 2};
  const std::vector<Candidate> out = sample_row({-kInfinity, 1, 1, -kInfinity}, spec, {0.0f, 0x1.fffffep-1f});
  EXPECT_EQ(out[0].token, 1);
  EXPECT_EQ(out[1].token, 2);
}

TEST(Sampling, ARowDoesNotDependOnTheThreadsOrTheRowsBesideIt) {
  constexpr std::int32_t kRows = 40;
  constexpr std::int32_t kVocabulary = 5000;
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(kRows * kVocabulary);
  std::generate(logits.begin(), logits.end(), [&] { return normal(random); });
  std::vector<SampleSpec> specs(kRows, {.kind = Kind::random, .count = 3, .top_k = 100, .top_p = 0.9f});
  std::vector<std::int32_t> indptr;
  for (std::int32_t row = 0; row <= kRows; ++row) {
    indptr.push_back(3 * row);
  }
  const std::vector<float> uniforms = even_uniforms(3 * kRows);
  cpu::ThreadPool pool(3);
  std::vector<Candidate> out(3 * kRows);
  cpu::sample(pool, {logits.data(), kRows, kVocabulary}, specs, indptr, uniforms, out);
  for (std::size_t row = 0; row < kRows; ++row) {
    const auto first = logits.begin() + static_cast<std::ptrdiff_t>(row) * kVocabulary;
    const std::vector<Candidate> alone =
        sample_row({first, first + kVocabulary}, specs[row], {&uniforms[3 * row], &uniforms[3 * row] + 3});
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(alone[i].token, out[3 * row + i].token);
      EXPECT_EQ(alone[i].logprob, out[3 * row + i].logprob);
    }
  }
}

std::string error_of(std::vector<float> bad_row) {
  for (std::size_t size = bad_row.size(); size < 70; ++size) {
    bad_row.push_back(-kInfinity);
  }
  std::vector<float> logits(70, 0.0f);
  logits.insert(logits.end(), bad_row.begin(), bad_row.end());
  logits.insert(logits.end(), bad_row.begin(), bad_row.end());
  const std::vector<SampleSpec> specs(3);
  std::vector<Candidate> out(3);
  cpu::ThreadPool pool(2);
  try {
    cpu::sample(pool, {logits.data(), 3, 70}, specs, std::vector<std::int32_t>{0, 1, 2, 3},
                std::vector<float>(3), out);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "none";
}

TEST(Sampling, ARowThatIsNotADistributionIsRefusedByNumber) {
  for_each_simd_target([] {
    EXPECT_THAT(error_of({0, std::nanf("")}), ::testing::HasSubstr("row 1"));
    EXPECT_THAT(error_of({std::nanf(""), 0}), ::testing::HasSubstr("row 1"));
    EXPECT_THAT(error_of({0, kInfinity}), ::testing::HasSubstr("row 1"));
    EXPECT_THAT(error_of({}), ::testing::HasSubstr("row 1"));
    EXPECT_EQ(error_of({0}), "none");
  });
}

TEST(Sampling, RefusesASpecOutOfRange) {
  EXPECT_THROW(sample_row({1, 2}, {.kind = Kind::random, .temperature = 0}, {0.5f}), std::invalid_argument);
  EXPECT_THROW(sample_row({1, 2}, {.kind = Kind::random, .top_p = 0}, {0.5f}), std::invalid_argument);
  EXPECT_THROW(sample_row({1, 2}, {.kind = Kind::top, .count = 3}, {0, 0, 0}), std::invalid_argument);
}

}  // namespace
}  // namespace pagelab::kernels
