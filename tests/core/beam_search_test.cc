#include "core/beam_search.h"

#include <gtest/gtest.h>

#include "tests/support/builders.h"

namespace pagelab {
namespace {

SequenceGroup beam_group(std::int32_t width, std::int64_t output) {
  SequenceGroup group;
  group.request = testing::beams(testing::request(0, 3, output), width);
  group.live.emplace_back().prompt = Tokens(3);
  return group;
}

void grow(SequenceGroup& group, std::span<const BeamSearch::Child> next) {
  std::vector<Sequence> grown;
  for (const auto& child : next) {
    grown.push_back(group.live[child.parent]);
    grown.back().output.push_back(child.token);
    grown.back().logprobs.push_back(child.logprob);
    grown.back().score = child.score;
  }
  group.live = std::move(grown);
}

TEST(BeamSearch, StartsWithTheBestTokensOfThePrompt) {
  SequenceGroup group = beam_group(2, 4);
  BeamSearch search;
  const std::vector<TokenCandidate> row{{7, -0.1f}, {3, -0.5f}, {4, -0.9f}, {5, -2.0f}};
  const auto next = search.advance(group, row);
  ASSERT_EQ(next.size(), 2u);
  EXPECT_EQ(next[0].token, 7);
  EXPECT_EQ(next[1].token, 3);
}

TEST(BeamSearch, OneParentMayTakeAllPlaces) {
  SequenceGroup group = beam_group(2, 4);
  BeamSearch search;
  grow(group,
       search.advance(group, std::vector<TokenCandidate>{{1, -0.1f}, {2, -3.0f}, {3, -4.0f}, {4, -5.0f}}));
  const auto next = search.advance(
      group,
      std::vector<TokenCandidate>{
          {1, -0.2f}, {2, -0.3f}, {3, -9.0f}, {4, -9.0f}, {1, -0.1f}, {2, -0.2f}, {3, -9.0f}, {4, -9.0f}});
  ASSERT_EQ(next.size(), 2u);
  EXPECT_EQ(next[0].parent, 0u);
  EXPECT_EQ(next[1].parent, 0u);
  EXPECT_NEAR(next[1].score, -0.4, 1e-6);
}

TEST(BeamSearch, EqualScoresGoToTheEarlierBeamAndTheSmallerToken) {
  SequenceGroup group = beam_group(2, 4);
  BeamSearch search;
  const auto next =
      search.advance(group, std::vector<TokenCandidate>{{9, -1.0f}, {2, -1.0f}, {5, -1.0f}, {4, -5.0f}});
  EXPECT_EQ(next[0].token, 2);
  EXPECT_EQ(next[1].token, 5);
}

TEST(BeamSearch, AnEndedHypothesisIsScoredByItsLengthAndDoesNotGoOn) {
  SequenceGroup group = beam_group(2, 4);
  group.request.forced_output = false;
  group.request.sampling.eos = 0;
  BeamSearch search;
  grow(group,
       search.advance(group, std::vector<TokenCandidate>{{1, -0.5f}, {2, -0.6f}, {3, -4.0f}, {4, -5.0f}}));
  const auto next = search.advance(
      group,
      std::vector<TokenCandidate>{
          {0, -0.1f}, {2, -0.2f}, {3, -9.0f}, {4, -9.0f}, {1, -0.3f}, {0, -5.0f}, {3, -9.0f}, {4, -9.0f}});
  ASSERT_EQ(group.done.size(), 1u);
  EXPECT_NEAR(group.done[0].score, -0.6 / 2, 1e-6);
  EXPECT_EQ(group.done[0].output, (std::vector<TokenId>{1, 0}));
  ASSERT_EQ(next.size(), 2u);
  EXPECT_EQ(next[0].token, 2);
}

TEST(BeamSearch, StopsWhenNoRunningBeamCanBeatTheFinishedOnes) {
  SequenceGroup group = beam_group(1, 10);
  group.request.forced_output = false;
  group.request.sampling.eos = 0;
  BeamSearch search;
  EXPECT_TRUE(search.advance(group, std::vector<TokenCandidate>{{0, -0.1f}, {2, -0.2f}}).empty());
  EXPECT_EQ(group.done.size(), 1u);
}

TEST(BeamSearch, GoesOnWhileARunningBeamIsBetterThanTheWorstFinished) {
  SequenceGroup group = beam_group(1, 10);
  group.request.forced_output = false;
  group.request.sampling.eos = 0;
  BeamSearch search;
  grow(group, search.advance(group, std::vector<TokenCandidate>{{5, -0.1f}, {0, -0.2f}}));
  EXPECT_TRUE(group.done.empty()) << "an ending below the best `width` candidates is dropped";
  EXPECT_EQ(group.live.size(), 1u);
}

TEST(BeamSearch, EndsAtTheForcedLengthWithTheBestWidth) {
  SequenceGroup group = beam_group(2, 1);
  BeamSearch search;
  EXPECT_TRUE(
      search.advance(group, std::vector<TokenCandidate>{{1, -0.5f}, {2, -0.6f}, {3, -4.0f}, {4, -5.0f}})
          .empty());
  ASSERT_EQ(group.done.size(), 2u);
  EXPECT_EQ(group.done[0].output, std::vector<TokenId>{1});
  EXPECT_EQ(group.done[1].output, std::vector<TokenId>{2});
}

}  // namespace
}  // namespace pagelab
