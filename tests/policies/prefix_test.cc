// Prefix caching: what is found, what is computed once, what goes first; and that both indexes know contents
// by their tokens alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>

#include "core/error.h"
#include "policies/sharing/hash_index.h"
#include "policies/sharing/radix_index.h"
#include "tests/policies/serve.h"
#include "tests/support/builders.h"
#include "tests/support/hash_device.h"

namespace pagelab {
namespace {

using testing::HashDevice;
using testing::parallel;
using testing::PolicyNames;
using testing::request;
using testing::serve;

constexpr std::int64_t size = 4;  ///< of blocks

/// A request whose prompt begins with the first `shared` tokens of stream `stream`, and goes on with its own.
Request behind(int stream, std::int64_t shared, std::int32_t id, std::int64_t own, std::int64_t output,
               double arrival) {
  Request made = request(id, own, output, arrival);
  const std::vector<TokenId> prefix = request(1000 + stream, shared, 1).prompt;
  made.prompt.insert(made.prompt.begin(), prefix.begin(), prefix.end());
  return made;
}

Tokens prefilled(const testing::Run& run) {
  Tokens sum;
  for (const StepRecord& step : run.record.steps) {
    sum += step.tokens_prefill;
  }
  return sum;
}

Tokens hits(const testing::Run& run) {
  Tokens sum;
  for (const StepRecord& step : run.record.steps) {
    sum += step.tokens_hit;
  }
  return sum;
}

std::int64_t evictions(const testing::Run& run) {
  std::int64_t sum = 0;
  for (const StepRecord& step : run.record.steps) {
    sum += step.evictions;
  }
  return sum;
}

class PrefixCaching : public ::testing::TestWithParam<std::string> {
 protected:
  PolicyNames names() const { return {.sharing = GetParam()}; }
};
INSTANTIATE_TEST_SUITE_P(Policies, PrefixCaching, ::testing::Values("prefix_hash", "prefix_radix"),
                         [](const auto& policy) { return policy.param; });

TEST_P(PrefixCaching, ALaterPromptBeginsWithTheFullBlocksOfAnEarlierOne) {
  const auto run = serve({behind(0, 10, 0, 3, 2, 0), behind(0, 10, 1, 5, 2, 1)}, names());
  EXPECT_EQ(hits(run), Tokens(8));  // two blocks of the ten common tokens
  EXPECT_EQ(prefilled(run), Tokens(13 + 15 - 8));
  EXPECT_EQ(run.record.count(DecisionKind::share), 1);
}

TEST_P(PrefixCaching, TheLastTokenOfAPromptIsAlwaysComputed) {
  const auto run = serve({behind(0, 8, 0, 0, 1, 0), behind(0, 8, 1, 0, 1, 1)}, names());
  EXPECT_EQ(hits(run), Tokens(4))
      << "of two cached blocks the second holds the token whose logits are wanted";
  EXPECT_EQ(run.record.outputs.at(0)[0].output, run.record.outputs.at(1)[0].output);
}

TEST_P(PrefixCaching, ThePromptsOfOneMomentComputeTheirPrefixOnce) {
  const auto run = serve({behind(0, 16, 0, 2, 3, 0), behind(0, 16, 1, 2, 3, 0), request(2, 5, 3)}, names());
  EXPECT_EQ(run.record.steps[0].tokens_prefill, Tokens(18 + 5)) << "the second waits, a third does not";
  EXPECT_EQ(run.record.steps[1].tokens_prefill, Tokens(2));
  EXPECT_EQ(hits(run), Tokens(16));
}

TEST_P(PrefixCaching, APrefixThatIsComputedInChunksIsWaitedForToo) {
  PolicyNames chunked = names();
  chunked.batching = "chunked";
  chunked.parameters["batching.max_tokens"] = std::int64_t{8};
  const auto run = serve({behind(0, 24, 0, 2, 2, 0), behind(0, 24, 1, 2, 2, 0)}, chunked);
  EXPECT_EQ(prefilled(run), Tokens(26 + 2));
}

TEST_P(PrefixCaching, GeneratedTokensServeTheNextTurnUnlessToldOtherwise) {
  const auto first = serve({request(0, 8, 9)}, names());
  Request next = request(1, 8, 1, 1);
  next.prompt = request(0, 8, 9).prompt;
  const auto& output = first.record.outputs.at(0)[0].output;
  next.prompt.insert(next.prompt.end(), output.begin(), output.end());
  EXPECT_EQ(hits(serve({request(0, 8, 9), next}, names())), Tokens(16));
  PolicyNames prompts_only = names();
  prompts_only.parameters["sharing.cache_outputs"] = false;
  EXPECT_EQ(hits(serve({request(0, 8, 9), next}, prompts_only)), Tokens(8));
}

TEST_P(PrefixCaching, WithBlocksOfOneTokenPromptsShareToTheToken) {
  HashDevice device(64, 0, 1);
  EXPECT_EQ(hits(testing::run(device, {behind(0, 11, 0, 3, 1, 0), behind(0, 11, 1, 5, 1, 1)}, names())),
            Tokens(11));
}

TEST_P(PrefixCaching, WhatIsCachedIsEvictedBeforeAnybodyIsPreempted) {
  // Eight blocks: the first leaves 4 behind, the second needs 8.
  const auto run = serve({request(0, 16, 1), request(1, 24, 8, 1)}, names(), 8);
  EXPECT_EQ(run.progress.preemptions, 0);
  EXPECT_EQ(evictions(run), 4);
  EXPECT_EQ(run.record.count(DecisionKind::evict), 4);
  EXPECT_EQ(run.record.steps.front().slots.cached, Tokens(0));
  EXPECT_EQ(run.record.steps[1].slots.cached, Tokens(2 * size)) << "6 of 8 blocks are the second's";
}

TEST_P(PrefixCaching, TheLeastRecentlyUsedContentGoesFirst) {
  // Prompts of 2 blocks and a token in a pool of 5: one prompt stays beside a running one.
  const auto prompt = [](int stream, std::int32_t id) { return behind(stream, 8, id, 1, 1, id); };
  const auto run =
      serve({prompt(0, 0), prompt(1, 1), prompt(0, 2), prompt(2, 3), prompt(0, 4), prompt(1, 5)}, names(), 5);
  EXPECT_EQ(hits(run), Tokens(8 + 8)) << "stream 0 twice; stream 1 was the oldest when the pool was full";
}

TEST_P(PrefixCaching, CountsWhatIsComputedAgainAfterItsEviction) {
  const auto needed_again = [this](const Request& third) {
    std::int64_t needed = 0;
    for (const StepRecord& step :
         serve({request(0, 16, 1), request(1, 31, 1, 1), third}, names(), 8).record.steps) {
      needed += step.evicted_then_needed;
    }
    return needed;
  };
  EXPECT_EQ(needed_again(request(2, 16, 1, 2)), 0);
  Request again = request(0, 16, 1, 2);
  again.id = RequestId(2);
  EXPECT_EQ(needed_again(again), 4);
}

TEST_P(PrefixCaching, AGroupPreemptedForRecomputationFindsItsBlocksAgain) {
  PolicyNames recompute = names();
  recompute.preemption = "recompute";
  const std::vector<Request> requests{request(0, 6, 30), request(1, 6, 30)};
  const auto cached = serve(requests, recompute, 14);
  recompute.sharing = "group";
  const auto plain = serve(requests, recompute, 14);
  const auto recomputed = [](const testing::Run& run) {
    Tokens sum;
    for (const StepRecord& step : run.record.steps) {
      sum += step.tokens_recomputed;
    }
    return sum;
  };
  EXPECT_GT(cached.progress.preemptions, 0);
  EXPECT_LT(recomputed(cached), recomputed(plain));
}

TEST_P(PrefixCaching, ExcludesRunsOfBlocks) {
  PolicyNames runs = names();
  runs.allocation = "buddy_max";
  HashDevice device(64, 0, size);
  EXPECT_THROW(testing::run(device, {request(0, 4, 1)}, runs), InputError);
}

/// Six blocks: a prompt of 16 tokens leaves 4 blocks behind, one of 12 tokens and 1 takes 4, so two must go.
std::pair<Tokens, Tokens> hits_after_pressure(const std::string& sharing) {
  Request again = behind(0, 16, 2, 1, 1, 2);
  const auto run = serve({behind(0, 16, 0, 1, 1, 0), request(1, 13, 1, 1), again}, {.sharing = sharing}, 6);
  return {hits(run), prefilled(run)};
}

TEST(PrefixHash, EvictsTheHeadOfAPromptAndLosesWhatFollowsUntilItIsBack) {
  EXPECT_EQ(hits_after_pressure("prefix_hash").first, Tokens(0));
}

TEST(PrefixRadix, EvictsTheEndOfAPromptAndKeepsItsHead) {
  EXPECT_EQ(hits_after_pressure("prefix_radix").first, Tokens(8));
}

TEST(PrefixHash, WhatFollowsAnEvictedBlockIsFoundAgainOnceItIsBack) {
  // The first request's head is evicted for the second, which leaves nothing behind. The third begins like
  // the first and brings the head back; the fourth then finds all four blocks.
  const PolicyNames names{.sharing = "prefix_hash", .parameters = {{"sharing.cache_outputs", false}}};
  const auto run = serve(
      {behind(0, 16, 0, 1, 1, 0), request(1, 3, 9, 1), behind(0, 4, 2, 1, 1, 2), behind(0, 16, 3, 1, 1, 3)},
      names, 6);
  EXPECT_EQ(evictions(run), 1);
  EXPECT_EQ(hits(run), Tokens(16));
}

/// Contents known by all their tokens from the start of the prompt: what an index must agree with.
struct PlainIndex {
  std::map<std::vector<TokenId>, CacheEntry> entries;

  std::vector<CacheEntry> match(const std::vector<TokenId>& tokens, std::size_t block) const {
    std::vector<CacheEntry> path;
    for (std::size_t end = block; end <= tokens.size(); end += block) {
      const auto found = entries.find({tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(end)});
      if (found == entries.end()) {
        break;
      }
      path.push_back(found->second);
    }
    return path;
  }
};

/// Tokens of few values, among them two that make the hash of four of them the same whatever goes before.
std::vector<TokenId> random_tokens() {
  const auto value =
      rc::gen::element<TokenId>(1, 2, static_cast<TokenId>(0xa0b428db), static_cast<TokenId>(0xe7037ed1));
  return *rc::gen::resize(24, rc::gen::container<std::vector<TokenId>>(value));
}

template <class Index>
void agrees_with_a_plain_index() {
  const auto block = *rc::gen::element<std::size_t>(1, 2, 4);
  constexpr std::int32_t capacity = 12;
  Index index(Blocks(capacity), Tokens(static_cast<std::int64_t>(block)));
  PlainIndex plain;
  std::vector<CacheEntry> free;
  for (std::int32_t i = 0; i < capacity; ++i) {
    free.push_back(CacheEntry(i));
  }
  const int operations = *rc::gen::inRange(1, 40);
  for (int i = 0; i < operations; ++i) {
    const std::vector<TokenId> tokens = random_tokens();
    std::vector<CacheEntry> path;
    index.match(tokens, path);
    RC_ASSERT(path == plain.match(tokens, block));
    // The next block of these tokens is cached, if there is one, or something cached goes.
    const std::size_t from = path.size() * block;
    const CacheEntry parent = path.empty() ? PrefixIndex::root : path.back();
    if (from + block <= tokens.size() && !free.empty()) {
      const auto next = std::span<const TokenId>(tokens).subspan(from, block);
      const auto key =
          std::vector<TokenId>(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(from + block));
      RC_ASSERT(!index.find(parent, next));
      index.insert(parent, next, free.back());
      RC_ASSERT(index.find(parent, next) == free.back());
      plain.entries[key] = free.back();
      free.pop_back();
    } else if (!plain.entries.empty()) {
      auto victim = plain.entries.begin();
      std::advance(victim, *rc::gen::inRange<std::size_t>(0, plain.entries.size()));
      if (index.leaves_first()) {  // the longest that begins with the victim's tokens has no children
        while (std::next(victim) != plain.entries.end() &&
               std::equal(victim->first.begin(), victim->first.end(), std::next(victim)->first.begin(),
                          std::next(victim)->first.begin() +
                              static_cast<std::ptrdiff_t>(
                                  std::min(victim->first.size(), std::next(victim)->first.size())))) {
          ++victim;
        }
      }
      index.erase(victim->second);
      free.push_back(victim->second);
      plain.entries.erase(victim);
    }
    index.check_integrity();
  }
}

RC_GTEST_PROP(HashIndexProperty, KnowsContentsByTheirTokens, ()) {
  agrees_with_a_plain_index<HashIndex>();
}
RC_GTEST_PROP(RadixIndexProperty, KnowsContentsByTheirTokens, ()) {
  agrees_with_a_plain_index<RadixIndex>();
}

template <class Index>
void tells_colliding_blocks_apart() {
  const std::vector<TokenId> one{1, 2, static_cast<TokenId>(0xa0b428db), static_cast<TokenId>(0xe7037ed1)};
  const std::vector<TokenId> other{3, 4, static_cast<TokenId>(0xa0b428db), static_cast<TokenId>(0xe7037ed1)};
  ASSERT_EQ(hash_tokens(7, one), hash_tokens(7, other)) << "these collide by the hash's construction";
  Index index(Blocks(4), Tokens(4));
  index.insert(PrefixIndex::root, one, CacheEntry(0));
  EXPECT_EQ(index.find(PrefixIndex::root, other), std::nullopt);
  index.insert(PrefixIndex::root, other, CacheEntry(1));
  EXPECT_EQ(index.find(PrefixIndex::root, one), CacheEntry(0));
  EXPECT_EQ(index.find(PrefixIndex::root, other), CacheEntry(1));
}

TEST(PrefixHash, TellsBlocksOfEqualHashesApart) {
  tells_colliding_blocks_apart<HashIndex>();
}
TEST(PrefixRadix, TellsBlocksOfEqualHashesApart) {
  tells_colliding_blocks_apart<RadixIndex>();
}

}  // namespace
}  // namespace pagelab
