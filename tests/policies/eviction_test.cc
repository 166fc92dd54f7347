// What each eviction policy evicts on traces that can be followed by hand, beside its neighbours; and what
// KeyedEviction does for the policies that are a number per block.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/keyed_eviction.h"
#include "tests/policies/eviction_cache.h"

namespace pagelab {
namespace {

using testing::EvictionCache;
using ::testing::HasSubstr;
using testing::make_eviction;
using Values = std::map<std::string, ParameterValue>;

std::string text_of(const std::vector<int>& contents) {
  return {contents.begin(), contents.end()};
}

/// The contents that are evicted, in order, when those of `trace`, a letter each, are referenced.
std::string evicted(const std::string& policy, std::int64_t capacity, std::string_view trace,
                    const Values& values = {}) {
  std::vector<std::int64_t> next_use(64);
  const Future future(next_use);
  const auto made = make_eviction(policy, &future, values);
  EvictionCache cache(*made, capacity, nullptr, next_use);
  for (std::size_t i = 0; i < trace.size(); ++i) {
    const std::size_t next = trace.find(trace[i], i + 1);
    cache.reference(trace[i], false, 0, {},
                    next == std::string_view::npos ? Future::never : static_cast<std::int64_t>(next));
  }
  return text_of(cache.victims());
}

TEST(Eviction, LruEvictsWhatWasUsedLongestAgo) {
  EXPECT_EQ(evicted("lru", 3, "ABCBADE"), "CB");
  EXPECT_EQ(evicted("lru", 3, "ABCADEF"), "BCA");
}

TEST(Eviction, FifoEvictsWhatCameFirstHoweverOftenItWasUsed) {
  EXPECT_EQ(evicted("fifo", 3, "ABCBADE"), "AB");
  EXPECT_EQ(evicted("fifo", 3, "ABCADEF"), "ABC");
}

TEST(Eviction, LfuEvictsWhatWasUsedLeastOfEqualsTheLeastRecentlyUsed) {
  // A is used three times, B and C twice, B longer ago.
  EXPECT_EQ(evicted("lfu", 3, "AAABBCCD"), "B");
  for (const char* other : {"lru", "fifo", "clock", "sieve"}) {
    EXPECT_EQ(evicted(other, 3, "AAABBCCD"), "A") << other;
  }
  EXPECT_EQ(evicted("lfu", 3, "AAABBCCDEB"), "BDE") << "uses are forgotten with the content";
}

TEST(Eviction, ClockMovesWhatWasUsedBehindTheOthers) {
  EXPECT_EQ(evicted("clock", 3, "ABCBADE"), "CA") << "A and B in order of their coming, not of use";
  EXPECT_EQ(evicted("clock", 3, "ABCADEF"), "BCA");
}

TEST(Eviction, SieveKeepsItsHandWhereItStoodAndMovesNothing) {
  EXPECT_EQ(evicted("sieve", 3, "ABCADEF"), "BCD") << "A is old, but the hand has passed it";
  EXPECT_EQ(evicted("sieve", 3, "ABCADEFGAHIJ"), "BCDEFGH") << "and A stays behind the hand";
}

TEST(Eviction, S3FifoRemembersWhatItsSmallQueueDropsAndTakesItIntoTheMainQueue) {
  const Values quarter = {{"small", 0.25}};
  // A moves on to the main queue. B is wanted again while it is remembered and stays from then on.
  EXPECT_EQ(evicted("s3fifo", 4, "AAABCDEBFGHI", quarter), "BCDEFG");
  EXPECT_EQ(evicted("lfu", 4, "AAABCDEBFGHI"), "BCDEBF");
  EXPECT_EQ(evicted("sieve", 4, "AAABCDEBFGHI"), "BCDEBF");
  EXPECT_EQ(evicted("s3fifo", 4, "AABCDE", quarter), "A") << "one more use is not enough";
  EXPECT_EQ(evicted("s3fifo", 4, "AABCDE", {{"small", 0.25}, {"promote", std::int64_t{1}}}), "B");
}

TEST(Eviction, ArcGivesRoomToTheKindThatProvesMissing) {
  // C pushes B out, which had one use; B is wanted again, so contents with one use get more room: A and then
  // B itself go, though C was used longer ago than B.
  EXPECT_EQ(evicted("arc", 2, "ABACBD"), "BAB");
  EXPECT_EQ(evicted("lru", 2, "ABACBD"), "BAC");
}

TEST(Eviction, SlruLetsNewContentsPassThroughTheLowestSegment) {
  EXPECT_EQ(evicted("slru", 4, "AABCDE"), "B");
  EXPECT_EQ(evicted("lru", 4, "AABCDE"), "A");
  // Segments of one block: C pushes B and B pushes A down to the lowest, where A is before D.
  EXPECT_EQ(evicted("slru", 4, "AAABBBCCCDE"), "A");
  for (const char* other : {"lfu", "sieve", "clock"}) {
    EXPECT_EQ(evicted(other, 4, "AAABBBCCCDE"), "D") << other;
  }
}

TEST(Eviction, TwoQTakesIntoItsMainListOnlyWhatIsWantedAgainAfterItLeft) {
  EXPECT_EQ(evicted("twoq", 4, "AABCDE"), "A") << "uses in the first queue do not count";
  // A comes back while it is remembered, and stays.
  EXPECT_EQ(evicted("twoq", 4, "ABCDEAFGHIJ"), "ABCDEFG");
  for (const char* other : {"lru", "fifo", "lfu"}) {
    EXPECT_EQ(evicted(other, 4, "ABCDEAFGHIJ"), "ABCDEAF") << other;
  }
}

TEST(Eviction, BeladyEvictsWhatIsWantedLast) {
  EXPECT_EQ(evicted("belady", 2, "ABCABA"), "BC");
  EXPECT_EQ(evicted("lru", 2, "ABCABA"), "ABC");
  EXPECT_EQ(evicted("belady", 3, "ABCDBAC"), "CD") << "D is never wanted again";
}

TEST(Eviction, CostWeighsHowDeepABlockIsWithHowLongAgoItWasUsed) {
  const auto victim = [](double half_life) {
    const auto policy = make_eviction("cost", nullptr, {{"attention", 1.0}, {"half_life", half_life}});
    EvictionCache cache(*policy, 3);
    cache.reference('A', false, 7);  // costs 8 times what B costs, C twice
    cache.reference('B', false, 0);
    cache.reference('C', false, 1);
    cache.reference('D');
    return text_of(cache.victims());
  };
  EXPECT_EQ(victim(1), "B") << "1/3 + 3, 2/3 + 0 and 3/3 + 1";
  EXPECT_EQ(victim(0.1), "A") << "1/0.3 + 3, 2/0.3 + 0 and 3/0.3 + 1: recency is all that counts";
}

TEST(Eviction, WhatIsInUseIsPassedOverAndGoesOnceItCan) {
  const auto fifo = make_eviction("fifo");
  EvictionCache cache(*fifo, 3);
  cache.reference('A', true);
  cache.reference('B');
  cache.reference('C');
  cache.reference('D');
  cache.let_go('A');
  cache.reference('E');
  EXPECT_EQ(text_of(cache.victims()), "BA");
}

TEST(Eviction, LettingGoIsAUseForLruAndNoneForFifo) {
  const auto after = [](const std::string& name) {
    const auto policy = make_eviction(name);
    EvictionCache cache(*policy, 2);
    cache.reference('A', true);
    cache.reference('B');
    cache.let_go('A');
    cache.reference('C');
    return text_of(cache.victims());
  };
  EXPECT_EQ(after("lru"), "B");
  EXPECT_EQ(after("fifo"), "A");
}

TEST(Eviction, WhatOthersContinueGoesAfterThem) {
  const auto lru = make_eviction("lru");
  EvictionCache cache(*lru, 3);
  cache.reference('A');
  cache.reference('B', false, 1, 'A');
  cache.reference('C');
  cache.reference('D');
  cache.reference('E');
  EXPECT_EQ(text_of(cache.victims()), "BA");
}

/// The key is what the test says, and counts how often it is asked for.
class Told final : public KeyedEviction {
 public:
  double next_key = 0;
  int asked = 0;
  CachedBlock last;

 protected:
  double key(const CachedBlock& block) override {
    ++asked;
    last = block;
    return next_key;
  }
};

TEST(KeyedEviction, AsksForAKeyAtInsertTouchAndReleaseOnly) {
  Told policy;
  EvictionCache cache(policy, 2);
  cache.reference('A', true, 5);
  cache.reference('B');
  cache.reference('A');
  cache.let_go('A');
  EXPECT_EQ(policy.asked, 4);
  EXPECT_EQ(policy.last.depth, 5);
  EXPECT_EQ(policy.last.uses, 2);
  EXPECT_EQ(policy.last.inserted, 1);
  EXPECT_EQ(policy.last.last_use, 4);
  cache.evict();
  EXPECT_EQ(policy.asked, 4);
}

TEST(KeyedEviction, OfEqualKeysTheOneGoesThatWasAskedForLongestAgo) {
  Told policy;
  EvictionCache cache(policy, 4);
  for (const char content : {'A', 'B', 'C', 'D', 'A', 'B'}) {
    cache.reference(content);
  }
  cache.evict_all();
  EXPECT_EQ(text_of(cache.victims()), "CDAB");
}

TEST(KeyedEviction, ANaNKeyIsAnErrorThatNamesTheRule) {
  Told policy;
  EvictionCache cache(policy, 2);
  cache.reference('A');
  policy.next_key = std::nan("");
  try {
    cache.reference('A');
    FAIL();
  } catch (const PolicyError& error) {
    EXPECT_THAT(error.what(), HasSubstr("key() is NaN"));
    EXPECT_THAT(error.what(), HasSubstr("must be a number"));
  }
}

TEST(EvictionRegistry, BeladyNeedsTheFuture) {
  PolicyRegistry registry;
  register_builtin_policies(registry);
  EXPECT_EQ(registry.find("eviction", "belady").info.needs, "future");
  EXPECT_THROW(registry.make<EvictionPolicy>("belady", Parameters()), InputError);
}

}  // namespace
}  // namespace pagelab
