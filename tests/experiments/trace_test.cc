#include "experiments/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/experiments/files.h"

namespace pagelab {
namespace {

using test::error_of;
using test::TemporaryFolder;
using ::testing::EndsWith;
using ::testing::HasSubstr;

struct Row {
  std::int64_t prompt, output;
  double time;  ///< -1: none
  std::vector<std::uint64_t> blocks;
  bool operator==(const Row&) const = default;
};

std::vector<Row> read(const TraceOptions& options) {
  TraceReader reader(options);
  std::vector<Row> rows;
  TraceRow row;
  while (reader.next(row)) {
    rows.push_back(
        {row.prompt.value(), row.output.value(), row.time.value_or(Seconds(-1)).value(), row.blocks});
  }
  return rows;
}

class Trace : public ::testing::Test {
 protected:
  std::vector<Row> rows(std::string_view content, TraceOptions options = {}) {
    options.file = folder_.write("trace", content);
    return read(options);
  }
  /// The error without the folder's name.
  std::string error(std::string_view content, TraceOptions options = {}) {
    std::string text = error_of([&] { rows(content, options); });
    const std::string folder = folder_.path().string() + "/";
    if (const std::size_t at = text.find(folder); at != std::string::npos) {
      text.erase(at, folder.size());
    }
    return text;
  }
  TemporaryFolder folder_;
};

TEST_F(Trace, ReadsAzure) {
  const auto got = rows(
      "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n"
      "2023-11-16 18:15:50.9951690,396,109\r\n2023-11-17 00:00:00.5,1,2\r\n");
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(got[0], (Row{374, 44, 0, {}}));
  EXPECT_NEAR(got[1].time, 4.3145790, 1e-9);
  EXPECT_NEAR(got[2].time, 20653.81941, 1e-6);
  EXPECT_EQ(got[2].output, 2);
}

TEST_F(Trace, ReadsDatesWithAnOffset) {
  const auto got = rows(
      "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,1,1\n"
      "2024-05-10T01:00:01.009930+01:00,1,1\n2024-05-10T00:00:02.009930Z,1,1\n");
  EXPECT_NEAR(got.at(1).time, 1, 1e-9);
  EXPECT_NEAR(got.at(2).time, 2, 1e-9);
}

TEST_F(Trace, ReadsVidur) {
  EXPECT_EQ(rows("num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n74,918,992,0.08\n"),
            (std::vector<Row>{{74, 918, -1, {}}}));
}

TEST_F(Trace, ReadsLengthsWithAndWithoutArrivals) {
  EXPECT_EQ(rows("input_tokens,output_tokens\n42,285\n19,82"),
            (std::vector<Row>{{42, 285, -1, {}}, {19, 82, -1, {}}}));
  EXPECT_EQ(rows("arrival_s,input_tokens,output_tokens\n1.5,55,4\n2.0,829,170\n"),
            (std::vector<Row>{{55, 4, 0, {}}, {829, 170, 0.5, {}}}));
}

TEST_F(Trace, ReadsColumnsByName) {
  EXPECT_EQ(rows("idx,a,b,when\n0,15,38,3\n1,16,40,5\n",
                 {.prompt_column = "a", .output_column = "b", .time_column = "when"}),
            (std::vector<Row>{{15, 38, 0, {}}, {16, 40, 2, {}}}));
}

TEST_F(Trace, ReadsMooncakeWithAndWithoutTimesAndBlocks) {
  EXPECT_EQ(rows("{\"timestamp\": 1000, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [0, 7]}\n"
                 "{\"timestamp\": 3500, \"input_length\": 2, \"output_length\": 1, \"hash_ids\": [-1]}\n"),
            (std::vector<Row>{{600, 5, 0, {0, 7}}, {2, 1, 2.5, {~std::uint64_t{0}}}}));
  EXPECT_EQ(rows("{\"input_length\": 6, \"output_length\": 5}\n"), (std::vector<Row>{{6, 5, -1, {}}}));
}

TEST_F(Trace, PassesOverBlankLinesAndAByteOrderMark) {
  EXPECT_EQ(rows("\xEF\xBB\xBFinput_tokens,output_tokens\n\n1,2\n\n"), (std::vector<Row>{{1, 2, -1, {}}}));
}

TEST_F(Trace, ReadsXzLikeThePlainFile) {
  std::string text = "input_tokens,output_tokens\n";
  for (int i = 1; i <= 30000; ++i) {
    text += std::to_string(i) + "," + std::to_string(2 * i) + "\n";
  }
  const auto plain = rows(text);
  EXPECT_EQ(plain.size(), 30000u);
  EXPECT_EQ(plain.back(), (Row{30000, 60000, -1, {}}));
  EXPECT_EQ(rows(test::xz_compressed(text)), plain);
}

TEST_F(Trace, BoundsPassOverRows) {
  const std::string text = "input_tokens,output_tokens\n3,3\n4,4\n10,0\n10,10\n100,5\n5,100\n";
  TraceOptions options{.min_prompt = 4, .max_prompt = 50, .min_output = 4, .max_output = 50};
  EXPECT_EQ(rows(text, options), (std::vector<Row>{{4, 4, -1, {}}, {10, 10, -1, {}}}));
  options.max_total = 19;
  EXPECT_EQ(rows(text, options), (std::vector<Row>{{4, 4, -1, {}}}));
}

TEST_F(Trace, RefusesLengthsThatAreNone) {
  const std::string head = "input_tokens,output_tokens\n1,1\n";
  EXPECT_EQ(error(head + "-3,1\n"),
            "trace:3: input_tokens is '-3'; it must be a whole number of tokens from 1 to 2147483647");
  EXPECT_EQ(error(head + "3,1.5\n"),
            "trace:3: output_tokens is '1.5'; it must be a whole number of tokens from 1 to 2147483647");
  EXPECT_THAT(error(head + "x,1\n"), HasSubstr("trace:3: input_tokens is 'x'"));
  EXPECT_THAT(error(head + ",1\n"), HasSubstr("trace:3: input_tokens is ''"));
  EXPECT_THAT(error(head + "99999999999999999999,1\n"), HasSubstr("trace:3: input_tokens is '9999"));
  EXPECT_EQ(error(head + "1,0\n"), "trace:3: output of 0 tokens; min_output = 1 passes over such rows");
  EXPECT_EQ(error(head + "0,1\n"), "trace:3: prompt of 0 tokens; min_prompt = 1 passes over such rows");
  EXPECT_EQ(error(head + "1\n"), "trace:3: 1 fields, but the header names 2 columns");
  EXPECT_THAT(error("{\"input_length\": 2.5, \"output_length\": 5}\n"),
              HasSubstr("trace:1: input_length is '2.5'"));
  EXPECT_THAT(error("{\"input_length\": \"2\", \"output_length\": 5}\n"),
              HasSubstr("trace:1: input_length is '\"2\"'"));
}

TEST_F(Trace, RefusesJsonThatIsNone) {
  const std::string good = "{\"input_length\": 1, \"output_length\": 5}\n";
  EXPECT_EQ(error(good + "{\"input_length\": 1,\n"), "trace:2: not a JSON object");
  EXPECT_EQ(error(good + "[1]\n"), "trace:2: not a JSON object");
  EXPECT_EQ(error(good + "{\"output_length\": 1}\n"),
            "trace:2: key 'input_length' is missing; keys found: output_length");
  EXPECT_THAT(error("{\"input_length\": 1, \"output_length\": 5, \"hash_ids\": 3}\n"),
              HasSubstr("hash_ids must be"));
  EXPECT_THAT(error("{\"input_length\": 1, \"output_length\": 5, \"timestamp\": \"x\"}\n"),
              HasSubstr("trace:1: timestamp must be a number"));
}

TEST_F(Trace, NamesMissingColumnsAndThoseFound) {
  EXPECT_EQ(error("ContextToken,GeneratedTokens\n1,2\n", {.format = "azure"}),
            "trace:1: column 'ContextTokens' is missing; valid columns here: ContextToken, GeneratedTokens; "
            "did you "
            "mean 'ContextToken'?");
  EXPECT_THAT(error("a,b\n1,2\n"), HasSubstr("columns found: a, b"));
  EXPECT_THAT(error("a,b\n1,2\n", {.prompt_column = "a", .output_column = "c"}),
              HasSubstr("column 'c' is missing"));
}

TEST_F(Trace, RefusesTimeThatGoesBack) {
  EXPECT_EQ(error("arrival_s,input_tokens,output_tokens\n2,1,1\n1.5,1,1\n"),
            "trace:3: the time goes back by 0.5 s");
  EXPECT_THAT(error("arrival_s,input_tokens,output_tokns\n", {.format = "lengths"}),
              HasSubstr("output_tokens"));
  EXPECT_THAT(error("arrival_s,input_tokens,output_tokens\nnoon,1,1\n"),
              HasSubstr("trace:2: arrival_s is 'noon'"));
  EXPECT_THAT(error("arrival_s,input_tokens,output_tokens\nnan,1,1\n"),
              HasSubstr("trace:2: arrival_s is 'nan'"));
  EXPECT_THAT(error("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-13-01 00:00:00,1,1\n"),
              HasSubstr("trace:2: TIMESTAMP is '2023-13-01 00:00:00'"));
}

TEST_F(Trace, RefusesFilesThatAreNone) {
  EXPECT_THAT(error(""), EndsWith("trace: the trace is empty"));
  EXPECT_THAT(error("\n\n"), EndsWith("trace: the trace is empty"));
  EXPECT_THAT(error_of([] { read({.file = "/absent"}); }), HasSubstr("/absent: no such file"));
  EXPECT_THAT(error_of([] { read({.file = "/dev/zero"}); }), HasSubstr("/dev/zero: not a regular file"));
  EXPECT_THAT(error(std::string(std::size_t{17} << 20, 'x')),
              HasSubstr("trace:1: a line of more than 16 MiB"));
}

TEST_F(Trace, RefusesDamagedXz) {
  std::string text = "input_tokens,output_tokens\n";
  for (int i = 1; i <= 20000; ++i) {
    text += std::to_string(i * 7919 % 10007 + 1) + "," + std::to_string(i * 104729 % 9973 + 1) + "\n";
  }
  const std::string packed = test::xz_compressed(text);
  EXPECT_THAT(error(packed.substr(0, packed.size() / 2)), HasSubstr("the xz data is truncated"));
  EXPECT_THAT(error(packed.substr(0, packed.size() - 1)), HasSubstr("the xz data is truncated"));
  std::string flipped = packed;
  flipped[packed.size() / 2] = static_cast<char>(flipped[packed.size() / 2] ^ 0x55);
  EXPECT_THAT(error(flipped), HasSubstr("the xz data is damaged"));
  EXPECT_THAT(error(packed + "rubbish"), HasSubstr("the xz data is"));
}

/// A published file with the figures of its documentation.
struct Published {
  const char* file;
  TraceOptions options;
  std::size_t rows;
  double prompt_mean, output_mean;
};

TEST(PublishedTraces, HaveTheRowsAndMeansOfTheirDocumentation) {
  PAGELAB_NEED_TRACES();
  const std::vector<Published> all = {
      {"azure2023_conv.csv.xz", {}, 19366, 1154.70, 211.13},
      {"mooncake_conversation.jsonl.xz", {}, 12031, 12035.06, 342.62},
      {"sharegpt_first_turn_llama.csv.xz", {.min_prompt = 1, .min_output = 1}, 58787, 298.80, 323.73},
      {"sharegpt_first_turn_llama.csv.xz",
       {.min_prompt = 4, .min_output = 4, .max_total = 2048},
       54158,
       156.38,
       325.79},
      {"sharegpt_8k_multiturn_llama2.csv.xz", {}, 30731, 2340.03, 438.71},
      {"arxiv_summarization_4k_llama2.csv.xz", {}, 28257, 2588.08, 291.43},
      {"alpaca5000_lengths.csv",
       {.prompt_column = "instr_input_opt", .output_column = "output_opt", .min_output = 1},
       4998,
       18.96,
       58.57},
      {"sharegpt_multiturn_opt13b_2k_16rps.csv", {}, 1600, 758.71, 186.32},
      {"prefix/bbh_cot_opt_blk16.jsonl.xz", {}, 6511, 920.87, 195.33},
  };
  for (const Published& published : all) {
    SCOPED_TRACE(published.file);
    TraceOptions options = published.options;
    options.file = (test::traces() / published.file).string();
    const std::vector<Row> rows = read(options);
    ASSERT_EQ(rows.size(), published.rows);
    double prompt = 0;
    double output = 0;
    for (const Row& row : rows) {
      prompt += static_cast<double>(row.prompt);
      output += static_cast<double>(row.output);
    }
    EXPECT_NEAR(prompt / static_cast<double>(rows.size()), published.prompt_mean, 0.01);
    EXPECT_NEAR(output / static_cast<double>(rows.size()), published.output_mean, 0.01);
  }
}

TEST(PublishedTraces, HaveTheDurationOfTheirDocumentation) {
  PAGELAB_NEED_TRACES();
  EXPECT_NEAR(read({.file = (test::traces() / "azure2023_conv.csv.xz").string()}).back().time, 3502, 1);
  EXPECT_NEAR(read({.file = (test::traces() / "mooncake_conversation.jsonl.xz").string()}).back().time, 3537,
              1);
}

}  // namespace
}  // namespace pagelab
