// `pagelab cache-sim`: what it reads, what it counts, what it prints, and what it says of wrong input.
#include "experiments/cache_sim/cache_sim_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "experiments/cache_sim/block_trace.h"
#include "experiments/cache_sim/cache_simulator.h"
#include "tests/experiments/files.h"

namespace pagelab {
namespace {

using test::error_of;
using test::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kPrompts =
    "{\"input_length\": 40, \"output_length\": 1, \"hash_ids\": [1, 2, 3]}\n"
    "{\"input_length\": 48, \"output_length\": 1, \"hash_ids\": [1, 2, 4]}\n"
    "{\"input_length\": 20, \"output_length\": 1, \"hash_ids\": [5, 6]}\n"
    "{\"input_length\": 40, \"output_length\": 1, \"hash_ids\": [1, 2, 7]}\n";

class CacheSim : public ::testing::Test {
 protected:
  CacheSimOptions on(std::string_view name, std::string_view content,
                     std::vector<std::string> policies = {"lru"},
                     std::vector<std::int64_t> capacities = {2}) {
    return {.trace = folder_.write(std::string(name), content),
            .policies = std::move(policies),
            .capacities = std::move(capacities)};
  }
  BlockTrace read(std::string_view name, std::string_view content, std::int64_t block_tokens = 0) {
    return read_block_trace(folder_.write(std::string(name), content), Tokens(block_tokens));
  }
  TemporaryFolder folder_;
};

TEST_F(CacheSim, NumbersContentsInOrderOfTheirFirstReference) {
  EXPECT_THAT(read("t.txt", "900\n7\n\n900\r\n18446744073709551615").contents, ElementsAre(0, 1, 0, 2));
  const std::string_view ids("\x01\x00\x00\x80\x02\x00\x00\x00\x01\x00\x00\x80", 12);
  EXPECT_THAT(read("t.u32", ids).contents, ElementsAre(0, 1, 0));
  EXPECT_THAT(read("t.u32.xz", test::xz_compressed(ids)).contents, ElementsAre(0, 1, 0));
  EXPECT_EQ(read("t.u32", ids).distinct, 2);
}

TEST_F(CacheSim, ReadsTheFullBlocksOfPrompts) {
  const BlockTrace trace = read("t.jsonl", kPrompts);
  EXPECT_EQ(trace.block_tokens, Tokens(16));
  EXPECT_EQ(trace.prompt_tokens, Tokens(40 + 48 + 20 + 40));
  EXPECT_THAT(trace.contents, ElementsAre(0, 1, 0, 1, 2, 3, 0, 1)) << "40 tokens fill 2 blocks of 16";
  EXPECT_THAT(trace.prompt_ends, ElementsAre(2, 5, 6, 8));
  EXPECT_THAT(read("t.jsonl.xz", test::xz_compressed(kPrompts)).contents, trace.contents);
}

TEST_F(CacheSim, PrintsAndWritesMissesRegretAndEvictions) {
  // A B C A B C in two blocks: lru never hits; belady keeps A at C and then B or C.
  CacheSimOptions options = on("t.txt", "1\n2\n3\n1\n2\n3\n", {"lru", "belady"});
  options.csv = folder_.path() / "table.csv";
  EXPECT_EQ(cache_sim(options),
            "policy         capacity   references miss ratio   regret    evictions\n"
            "lru                   2            6     1.0000   0.3333            4\n"
            "belady                2            6     0.6667   0.0000            2\n");
  std::ostringstream csv;
  csv << std::ifstream(options.csv).rdbuf();
  EXPECT_THAT(csv.str(),
              HasSubstr("policy,capacity_blocks,references,misses,miss_ratio,regret,evictions,tokens_served\n"
                        "lru,2,6,6,1,0.33333333333333337,4,\n"));
}

TEST_F(CacheSim, RunsEveryPolicyIfNoneIsNamed) {
  const std::string table = cache_sim(on("t.txt", "1\n2\n3\n1\n", {}));
  for (const char* name : {"lru", "s3fifo", "arc", "twoq", "cost", "belady"}) {
    EXPECT_THAT(table, HasSubstr(std::string("\n") + name + " "));
  }
}

TEST_F(CacheSim, CountsThePromptTokensThatAreServed) {
  // The prompts 0 1, 0 1 2, 3, 0 1. In 3 blocks 3 pushes 0 out, and at the last prompt 0 pushes 1 out.
  EXPECT_THAT(cache_sim(on("t.jsonl", kPrompts, {"lru"}, {3, 4})),
              ::testing::AllOf(HasSubstr("lru                   3            8     0.7500"),
                               HasSubstr("lru                   4            8     0.5000"),
                               HasSubstr(" 43.2%\n")));  // 4 blocks of 16 of 148 tokens
}

TEST_F(CacheSim, TakesAPolicysParameters) {
  CacheSimOptions options = on("t.txt", "1\n1\n2\n3\n1\n", {"s3fifo"});
  EXPECT_THAT(cache_sim(options), HasSubstr("0.8000"));
  options.overrides = {"s3fifo.promote=1"};
  EXPECT_THAT(cache_sim(options), HasSubstr("0.6000"));
  options.overrides = {"s3fifo.promote=4"};
  EXPECT_THAT(error_of([&] { cache_sim(options); }),
              ::testing::AllOf(HasSubstr("s3fifo.promote"), HasSubstr("at least 1 and at most 3")));
  options.overrides = {"s3fifo.promot=1"};
  EXPECT_THAT(error_of([&] { cache_sim(options); }), HasSubstr("did you mean 'promote'?"));
  options.overrides = {"arc.promote=1"};
  EXPECT_THAT(error_of([&] { cache_sim(options); }), HasSubstr("arc"));
}

TEST_F(CacheSim, SaysWhatIsWrongWithATrace) {
  const auto error = [&](std::string_view name, std::string_view content, std::int64_t block_tokens = 0) {
    return error_of([&] { read(name, content, block_tokens); });
  };
  EXPECT_THAT(error_of([&] { read_block_trace(folder_.path() / "none.u32"); }),
              HasSubstr("none.u32: no such file"));
  EXPECT_THAT(error("t.u32", "12345"), HasSubstr("t.u32: 5 bytes; a trace of uint32 ids has 4 for each"));
  EXPECT_THAT(error("t.u32", ""), HasSubstr("t.u32: no reference of a block"));
  EXPECT_THAT(error("t.u32.xz", test::xz_compressed("abcd").substr(0, 40)),
              HasSubstr("xz data is truncated"));
  EXPECT_THAT(error("t.txt", "1\n-2\n"), HasSubstr("t.txt:2: '-2' is not a block id"));
  EXPECT_THAT(error("t.txt", "1\n18446744073709551616\n"), HasSubstr("from 0 to 18446744073709551615"));
  EXPECT_THAT(error("t.jsonl", "{\"input_length\": 40, \"output_length\": 1}\n"),
              HasSubstr("t.jsonl:1: no hash_ids"));
  EXPECT_THAT(error("t.jsonl", kPrompts, 8),
              HasSubstr("t.jsonl:1: 3 hash_ids do not fit an input_length of 40 at 8"));
}

TEST_F(CacheSim, SaysWhichPoliciesAndCapacitiesThereAre) {
  EXPECT_THAT(error_of([&] { cache_sim(on("t.txt", "1\n", {"siev"})); }), HasSubstr("did you mean 'sieve'?"));
  for (const std::int64_t capacity : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1} << 31}) {
    EXPECT_THAT(error_of([&] { cache_sim(on("t.txt", "1\n", {"lru"}, {capacity})); }),
                HasSubstr("valid: 1 to 2147483647 blocks"));
  }
}

/// Always evicts the same entry.
class Always final : public EvictionPolicy {
 public:
  explicit Always(std::int32_t entry) : entry_(entry) {}
  void start(const CacheView&, ForgottenEntries&) override {}
  void insert(CacheEntry) override {}
  void touch(CacheEntry) override {}
  CacheEntry evict() override { return entry_; }

 private:
  CacheEntry entry_;
};

TEST_F(CacheSim, ABlockServesOnlyWithAllBlocksBefore) {
  const BlockTrace trace = read("t.jsonl",
                                "{\"input_length\": 32, \"output_length\": 1, \"hash_ids\": [1, 2]}\n"
                                "{\"input_length\": 16, \"output_length\": 1, \"hash_ids\": [3]}\n"
                                "{\"input_length\": 32, \"output_length\": 1, \"hash_ids\": [1, 2]}\n");
  CacheSimulator simulator(trace);
  Always first(0);  // 3 comes into the place of 1, and 1 into that of 3; 2 stays, and is found in vain
  const CacheSimResult result = simulator.run(first, Blocks(2));
  EXPECT_EQ(result.references, 5);
  EXPECT_EQ(result.misses, 5);
  EXPECT_EQ(result.evictions, 2);
}

TEST_F(CacheSim, StopsAPolicyThatChoosesWhatIsNotCached) {
  const BlockTrace trace = read("t.txt", "1\n2\n3\n");
  CacheSimulator simulator(trace);
  Always wrong(7);
  try {
    simulator.run(wrong, Blocks(2));
    FAIL();
  } catch (const PolicyError& error) {
    EXPECT_THAT(error.what(), HasSubstr("entry 7, which is not cached"));
  }
}

}  // namespace
}  // namespace pagelab
