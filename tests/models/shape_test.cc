#include "models/shape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "models/family.h"
#include "models/llama.h"
#include "tests/models/model_files.h"

namespace pagelab {
namespace {

using ::testing::HasSubstr;

TEST(BuiltinShapes, HaveThePublishedNumberOfParameters) {
  // Of the released checkpoints.
  const std::pair<const char*, std::int64_t> published[] = {
      {"opt-125m", 125239296},      {"opt-350m", 331196416},       {"opt-1.3b", 1315758080},
      {"opt-6.7b", 6658473984},     {"opt-13b", 12853473280},      {"gpt2", 124439808},
      {"gpt2-xl", 1557611200},      {"llama-7b", 6738415616},      {"llama-13b", 13015864320},
      {"llama-65b", 65285660672},   {"llama-2-70b", 68976648192},  {"llama-3-8b", 8030261248},
      {"llama-3-70b", 70553706496}, {"tinyllama-1.1b", 1100048384}};
  for (const auto& [name, count] : published) {
    ASSERT_NE(find_shape(name), nullptr) << name;
    EXPECT_EQ(find_shape(name)->parameters(), count) << name;
  }
}

TEST(BuiltinShapes, AreConsistentAndNamedOnce) {
  std::set<std::string> names;
  for (const ModelShape& shape : builtin_shapes()) {
    EXPECT_TRUE(names.insert(shape.name).second) << shape.name;
    EXPECT_EQ(shape.heads % shape.kv_heads, 0) << shape.name;
    EXPECT_EQ(shape.heads * shape.head_size, shape.hidden) << shape.name;
  }
  EXPECT_EQ(names.size(), 25u);
  EXPECT_EQ(find_shape("opt-13b")->kv_bytes_per_token(kernels::DType::f16),
            Bytes(819200));  // SOSP'23, section 3
  EXPECT_EQ(find_shape("opt-13b")->weight_bytes(kernels::DType::bf16), Bytes(2 * 12853473280));
}

TEST(BuiltinShapes, SuggestTheNearestName) {
  try {
    resolve_shape("lama-7b");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean llama-7b?"));
    EXPECT_THAT(error.what(), HasSubstr("opt-175b"));
  }
}

constexpr const char* kLlama3 = R"({"model_type":"llama","hidden_size":4096,"num_hidden_layers":32,
  "num_attention_heads":32,"num_key_value_heads":8,"intermediate_size":14336,"vocab_size":128256,"hidden_act":"silu",
  "max_position_embeddings":131072,"rms_norm_eps":1e-05,"rope_theta":500000.0,"tie_word_embeddings":false,
  "attention_bias":false,"pad_token_id":null,"rope_scaling":{"factor":8.0,"low_freq_factor":1.0,
  "high_freq_factor":4.0,"original_max_position_embeddings":8192,"rope_type":"llama3"}})";

TEST(ConfigJson, OfLlamaIsRead) {
  const ModelShape shape = parse_shape(kLlama3, "config.json");
  EXPECT_EQ(shape.family, &llama_family);
  EXPECT_EQ(shape.parameters(), 8030261248);
  EXPECT_EQ(shape.head_size, 128);
  EXPECT_EQ(shape.max_positions, 131072);
  EXPECT_FALSE(shape.tied_head);
  EXPECT_DOUBLE_EQ(shape.rope_theta, 500000);
  ASSERT_TRUE(shape.rope_scaling);
  EXPECT_DOUBLE_EQ(shape.rope_scaling->factor, 8);
}

TEST(ConfigJson, OfOpt350mIsRead) {
  const ModelShape shape = parse_shape(R"({"model_type":"opt","hidden_size":1024,"word_embed_proj_dim":512,
    "num_hidden_layers":24,"num_attention_heads":16,"ffn_dim":4096,"vocab_size":50272,"activation_function":"relu",
    "max_position_embeddings":2048,"do_layer_norm_before":false})",
                                       "config.json");
  EXPECT_EQ(shape.parameters(), find_shape("opt-350m")->parameters());
  EXPECT_EQ(shape.embedding_size, 512);
  EXPECT_FALSE(shape.pre_norm);
}

TEST(ConfigJson, OfGpt2IsRead) {
  const ModelShape shape =
      parse_shape(R"({"model_type":"gpt2","n_embd":768,"n_layer":12,"n_head":12,"n_inner":null,
    "n_positions":1024,"vocab_size":50257,"activation_function":"gelu_new"})",
                  "config.json");
  EXPECT_EQ(shape.parameters(), find_shape("gpt2")->parameters());
  EXPECT_EQ(shape.activation, kernels::Activation::gelu_tanh);
}

TEST(ConfigJson, OfAFolderNamesTheShapeAfterIt) {
  const test::TemporaryFolder folder;
  folder.write("config.json", kLlama3);
  EXPECT_EQ(resolve_shape(folder.path().string()).name, folder.path().filename());
  EXPECT_EQ(resolve_shape(folder.path().string() + "/").name, folder.path().filename());
}

/// kLlama3 with one text replaced by another.
std::string error_with(const std::string& old_text, const std::string& new_text) {
  std::string config = kLlama3;
  config.replace(config.find(old_text), old_text.size(), new_text);
  try {
    parse_shape(config, "folder/config.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ConfigJson, ErrorsNameFileKeyAndWhatIsValid) {
  EXPECT_EQ(error_with("\"hidden_size\":4096,", ""),
            "folder/config.json: hidden_size: missing (a whole number from 1 to 1048576)");
  EXPECT_EQ(error_with("4096", "\"wide\""),
            "folder/config.json: hidden_size: \"wide\" is not a whole number from 1 to 1048576");
  EXPECT_EQ(error_with("4096", "-1"),
            "folder/config.json: hidden_size: -1 is not a whole number from 1 to 1048576");
  EXPECT_THAT(error_with("4096", "18446744073709551615"), HasSubstr("is not a whole number"));
  EXPECT_THAT(error_with("\"llama\"", "\"mamba\""),
              HasSubstr("model_type: \"mamba\" is not supported (supported: opt, llama, gpt2)"));
  EXPECT_THAT(error_with("\"model_type\"", "\"model\""),
              HasSubstr("model_type: missing (one of opt, llama, gpt2)"));
  EXPECT_THAT(error_with("1e-05", "0"), HasSubstr("rms_norm_eps: 0 is not a number above 0"));
  EXPECT_THAT(error_with("\"tie_word_embeddings\":false", "\"tie_word_embeddings\":1"),
              HasSubstr("true or false"));
  EXPECT_THAT(error_with("\"num_key_value_heads\":8", "\"num_key_value_heads\":5"),
              HasSubstr("5 does not divide the 32 heads"));
  EXPECT_THAT(
      error_with("\"llama3\"", "\"yarn\""),
      HasSubstr(
          "config.json: rope_scaling: rope_type: \"yarn\" is not supported (supported: default, llama3)"));
}

TEST(ConfigJson, FeaturesThatTheForwardPassLacksAreRefused) {
  EXPECT_THAT(error_with("\"attention_bias\":false", "\"attention_bias\":true"),
              HasSubstr("attention_bias: true is not supported"));
  EXPECT_THAT(error_with("\"pad_token_id\":null", "\"sliding_window\":4096"),
              HasSubstr("sliding_window: 4096 is not supported"));
  EXPECT_EQ(error_with("\"pad_token_id\":null", "\"sliding_window\":null"), "accepted");
  EXPECT_THAT(error_with("\"silu\"", "\"gelu\""),
              HasSubstr("hidden_act: \"gelu\" is not supported (only \"silu\")"));
}

TEST(ConfigJson, HostileTextIsRefused) {
  for (const std::string& text :
       {std::string(), std::string("null"), std::string("[]"), std::string("{"), std::string(1 << 20, '['),
        "{\"model_type\":" + std::string(1 << 20, '[')}) {
    EXPECT_THROW(parse_shape(text, "config.json"), InputError);
  }
}

TEST(Rotary, Llama3ScalingKeepsShortWavesAndStretchesLongOnes) {
  ModelShape shape = parse_shape(kLlama3, "config.json");
  const auto scaled = rotary_frequencies(shape);
  shape.rope_scaling.reset();
  const auto plain = rotary_frequencies(shape);
  ASSERT_EQ(scaled.size(), 64u);
  EXPECT_FLOAT_EQ(scaled.front(), 1.0f);
  EXPECT_FLOAT_EQ(plain.front(), 1.0f);
  EXPECT_FLOAT_EQ(scaled.back(), plain.back() / 8);
  EXPECT_NEAR(plain[32], 1 / std::sqrt(500000.0), 1e-9);
}

}  // namespace
}  // namespace pagelab
