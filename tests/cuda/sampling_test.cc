// Sampling against the reference and against the cpu's kernels: candidates, log-probabilities, the kept set,
// which token a uniform draws, and that results repeat to the bit.
#include "kernels/cuda/sampling.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cpu/sampling.h"
#include "kernels/reference/sampling.h"
#include "tests/cuda/device_array.h"
#include "tests/kernels/logits.h"

namespace pagelab::testing {
namespace {

namespace reference = kernels::reference;
using kernels::Candidate;
using kernels::SampleSpec;
using Kind = SampleSpec::Kind;
using Ids = std::vector<std::int32_t>;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Rows of logits of one width with a spec and uniforms for each.
struct Rows {
  std::int32_t vocabulary = 0;
  std::vector<float> logits;
  std::vector<SampleSpec> specs;
  std::vector<std::int32_t> indptr = {0};
  std::vector<float> uniforms;

  void add(const std::vector<float>& row, const SampleSpec& spec, const std::vector<float>& row_uniforms) {
    vocabulary = static_cast<std::int32_t>(row.size());
    logits.insert(logits.end(), row.begin(), row.end());
    specs.push_back(spec);
    indptr.push_back(indptr.back() + spec.count);
    uniforms.insert(uniforms.end(), row_uniforms.begin(), row_uniforms.end());
    uniforms.resize(static_cast<std::size_t>(indptr.back()));
  }
  std::int32_t count() const { return static_cast<std::int32_t>(specs.size()); }
  std::span<const float> row(std::size_t index) const {
    return std::span(logits).subspan(index * static_cast<std::size_t>(vocabulary),
                                     static_cast<std::size_t>(vocabulary));
  }
  std::size_t begin(std::size_t index) const { return static_cast<std::size_t>(indptr[index]); }
};

std::vector<Candidate> sample_on_device(const Rows& rows) {
  const DeviceArray<float> logits(rows.logits), uniforms(rows.uniforms);
  const DeviceArray<SampleSpec> specs(rows.specs);
  const DeviceArray<std::int32_t> indptr(rows.indptr);
  const DeviceArray<Candidate> out(rows.uniforms.size());
  cuda::sample(nullptr, {logits.data(), rows.count(), rows.vocabulary}, specs.data(), indptr.data(),
               uniforms.data(), out.data());
  return out.download();
}

std::vector<Candidate> sample_on_cpu(Rows rows) {
  kernels::cpu::ThreadPool pool(1);
  std::vector<Candidate> out(rows.uniforms.size());
  kernels::cpu::sample(pool, {rows.logits.data(), rows.count(), rows.vocabulary}, rows.specs, rows.indptr,
                       rows.uniforms, out);
  return out;
}

std::int32_t draw_vocabulary() {
  return *rc::gen::oneOf(rc::gen::inRange(1, 40), rc::gen::inRange(1, 3000),
                         rc::gen::element(1024, 1025, 5000));
}

SampleSpec draw_spec(std::int32_t vocabulary) {
  SampleSpec spec;
  spec.kind = *rc::gen::element(Kind::greedy, Kind::top, Kind::random, Kind::random, Kind::random);
  if (spec.kind == Kind::top) {
    spec.count = *rc::gen::inRange(1, std::min(vocabulary, *rc::gen::element(8, 70, 1100)) + 1);
  } else if (spec.kind == Kind::random) {
    spec.count = *rc::gen::element(1, 3);
    spec.temperature = *rc::gen::element(0.1f, 0.7f, 1.0f, 3.0f);
    spec.top_k = *rc::gen::element(0, 1, 5, 50, 5000);
    spec.top_p = *rc::gen::element(0.001f, 0.3f, 0.9f, 0.999f, 1.0f);
  }
  return spec;
}

void expect_row(const Rows& rows, std::size_t row, const std::vector<Candidate>& out,
                const std::vector<Candidate>& on_cpu) {
  const SampleSpec& spec = rows.specs[row];
  const std::vector<std::int32_t> ranking = reference::ranking(rows.row(row));
  const std::vector<double> logprobs = reference::log_softmax(rows.row(row));
  const std::vector<double> probabilities =
      spec.kind == Kind::random ? reference::draw_probabilities(rows.row(row), spec) : std::vector<double>();
  for (std::size_t i = 0; i < static_cast<std::size_t>(spec.count); ++i) {
    const std::size_t at = rows.begin(row) + i;
    const Candidate& candidate = out[at];
    if (spec.kind != Kind::random) {
      RC_ASSERT(candidate.token == ranking[i]);
      RC_ASSERT(candidate.token == on_cpu[at].token);
    } else {
      // Rounding may move a draw that falls on the border of two tokens; away from borders the cpu agrees.
      const double u = static_cast<double>(rows.uniforms[at]);
      const std::int32_t low = reference::draw(probabilities, u - 1e-4);
      const std::int32_t high = reference::draw(probabilities, u + 1e-4);
      RC_ASSERT(candidate.token >= low);
      RC_ASSERT(candidate.token <= high);
      RC_ASSERT(low != high || candidate.token == on_cpu[at].token);
    }
    const double expected = logprobs[static_cast<std::size_t>(candidate.token)];
    RC_ASSERT(static_cast<double>(candidate.logprob) == expected ||
              std::abs(static_cast<double>(candidate.logprob) - expected) < 1e-5 + 1e-6 * std::abs(expected));
  }
}

RC_GTEST_PROP(CudaSampling, EveryRowAgreesWithTheReferenceAndTheCpu, ()) {
  const std::int32_t vocabulary = draw_vocabulary();
  const auto count = *rc::gen::element(1, 1, 2);
  Rows rows;
  for (int row = 0; row < count; ++row) {
    const SampleSpec spec = draw_spec(vocabulary);
    rows.add(draw_logits(vocabulary), spec, even_uniforms(spec.count));
  }
  const std::vector<Candidate> on_cpu = sample_on_cpu(rows);
  const std::vector<Candidate> out = sample_on_device(rows);
  for (std::size_t row = 0; row < rows.specs.size(); ++row) {
    expect_row(rows, row, out, on_cpu);
  }
}

TEST(CudaSampling, ResultsRepeatToTheBitUnderEverySchedule) {
  std::mt19937 random(99);
  std::normal_distribution<float> normal(0, 3);
  Rows rows;
  for (const SampleSpec& spec : {SampleSpec{}, SampleSpec{.kind = Kind::top, .count = 40},
                                 SampleSpec{.kind = Kind::random, .count = 4, .top_k = 300, .top_p = 0.9f}}) {
    std::vector<float> logits(4001);
    std::generate(logits.begin(), logits.end(), [&] { return normal(random); });
    rows.add(logits, spec, even_uniforms(spec.count));
  }
  std::vector<Candidate> first;
  for_each_schedule([&] {
    const std::vector<Candidate> out = sample_on_device(rows);
    if (first.empty()) {
      first = out;
    }
    EXPECT_EQ(std::memcmp(out.data(), first.data(), out.size() * sizeof(Candidate)), 0);
  });
}

TEST(CudaSampling, ALargeVocabularyAgreesWithTheCpu) {
  constexpr std::size_t kVocabulary = 150000;
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 2);
  Rows rows;
  for (const SampleSpec& spec : {SampleSpec{.kind = Kind::top, .count = 20},
                                 SampleSpec{.kind = Kind::random, .count = 3, .top_p = 0.95f}}) {
    std::vector<float> logits(kVocabulary);
    std::generate(logits.begin(), logits.end(), [&] { return normal(random); });
    rows.add(logits, spec, even_uniforms(spec.count));
  }
  const std::vector<Candidate> out = sample_on_device(rows);
  const std::vector<Candidate> on_cpu = sample_on_cpu(rows);
  for (std::size_t row = 0; row < rows.specs.size(); ++row) {
    expect_row(rows, row, out, on_cpu);
  }
}

std::vector<Candidate> sample_row(const std::vector<float>& logits, const SampleSpec& spec,
                                  const std::vector<float>& uniforms) {
  Rows rows;
  rows.add(logits, spec, uniforms);
  return sample_on_device(rows);
}

/// The distinct tokens that 24 draws bring, spread evenly over the uniforms.
Ids drawn_tokens(const std::vector<float>& logits, SampleSpec spec) {
  spec.kind = Kind::random;
  spec.count = 24;
  Ids tokens;
  for (const Candidate& candidate : sample_row(logits, spec, even_uniforms(spec.count))) {
    tokens.push_back(candidate.token);
  }
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  return tokens;
}

TEST(CudaSampling, TiesAtTheEdgeOfTopKGoToTheSmallerIds) {
  EXPECT_EQ(drawn_tokens({1, 3, 2, 2, 2}, {.top_k = 3}), (Ids{1, 2, 3}));
  EXPECT_EQ(drawn_tokens({5, 5, 5}, {.top_k = 1}), (Ids{0}));
  EXPECT_EQ(drawn_tokens({-0.0f, 0.0f, -0.0f}, {.top_k = 1}), (Ids{0}));
}

TEST(CudaSampling, TopPKeepsTheTokenThatCrossesItAndAlwaysTheFirst) {
  const std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
  EXPECT_EQ(drawn_tokens(logits, {.top_p = 0.1f}), (Ids{1}));
  EXPECT_EQ(drawn_tokens(logits, {.top_p = 0.49f}), (Ids{1}));
  EXPECT_EQ(drawn_tokens(logits, {.top_p = 0.6f}), (Ids{1, 2}));
  EXPECT_EQ(drawn_tokens(logits, {.top_p = 0.9f}), (Ids{0, 1, 2}));
}

TEST(CudaSampling, TopPOfEqualTokensKeepsTheSmallestIds) {
  EXPECT_EQ(drawn_tokens({1, 1, 1, 1}, {.top_p = 0.5f}), (Ids{0, 1}));
  EXPECT_EQ(drawn_tokens({1, 1, 1, 1}, {.top_p = 0.51f}), (Ids{0, 1, 2}));
}

TEST(CudaSampling, TopPCountsAfterTopK) {
  // Of the two kept by top_k the first holds 0.5 / 0.8.
  const std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
  EXPECT_EQ(drawn_tokens(logits, {.top_k = 2, .top_p = 0.6f}), (Ids{1}));
  EXPECT_EQ(drawn_tokens(logits, {.top_k = 2, .top_p = 0.7f}), (Ids{1, 2}));
}

TEST(CudaSampling, MaskedTokensAreNeverDrawn) {
  EXPECT_EQ(drawn_tokens({-kInfinity, 0, -kInfinity, 1}, {.temperature = 5}), (Ids{1, 3}));
  EXPECT_EQ(drawn_tokens({-kInfinity, 0, -kInfinity}, {.top_k = 3}), (Ids{1}));
}

TEST(CudaSampling, TheEndsOfTheUniformRangeDrawKeptTokens) {
  const SampleSpec spec{.kind = Kind::random, .count = 2};
  const std::vector<Candidate> out = sample_row({-kInfinity, 1, 1, -kInfinity}, spec, {0.0f, 0x1.fffffep-1f});
  EXPECT_EQ(out[0].token, 1);
  EXPECT_EQ(out[1].token, 2);
}

TEST(CudaSampling, ARowThatIsNotADistributionIsMarkedAndTheOthersAreNot) {
  const std::vector<std::vector<float>> bad = {
      {0, std::nanf(""), 1}, {-std::nanf(""), 0, 1}, {0, kInfinity, 1}, {-kInfinity, -kInfinity, -kInfinity}};
  for (const Kind kind : {Kind::greedy, Kind::random, Kind::top}) {
    Rows rows;
    for (const std::vector<float>& row : bad) {
      rows.add(row, {.kind = kind, .count = 2}, {0.5f, 0.5f});
      rows.add({0, 1, 0.5f}, {}, {0.5f});
    }
    const std::vector<Candidate> out = sample_on_device(rows);
    for (std::size_t row = 0; row < rows.specs.size(); row += 2) {
      EXPECT_EQ(out[rows.begin(row)].token, cuda::kNoToken);
      EXPECT_EQ(out[rows.begin(row) + 1].token, cuda::kNoToken);
      EXPECT_EQ(out[rows.begin(row + 1)].token, 1);
    }
  }
}

TEST(CudaSampling, NoRowsAreAllowed) {
  cuda::sample(nullptr, {nullptr, 0, 100}, nullptr, nullptr, nullptr, nullptr);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

}  // namespace
}  // namespace pagelab::testing
