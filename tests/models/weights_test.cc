#include "models/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "models/family.h"
#include "models/model.h"
#include "tests/models/model_files.h"

namespace pagelab {
namespace {

using kernels::HostTensor;
using kernels::Tensor;
using ::testing::HasSubstr;

/// Records what a model packs; computes nothing.
class RecordingOps final : public kernels::Ops {
 public:
  struct Packed final : kernels::Weight {
    std::int64_t rows() const override { return height; }
    std::int64_t cols() const override { return width; }
    std::int64_t height = 0;
    std::int64_t width = 0;
  };

  std::unique_ptr<kernels::Weight> matrix(std::span<const HostTensor> parts) override { return pack(parts); }
  std::unique_ptr<kernels::Weight> vector(std::span<const HostTensor> parts) override { return pack(parts); }
  std::int64_t numbers = 0;
  std::vector<std::vector<HostTensor>> packed;

  void allocate_kv(const kernels::KvShape&) override {}
  void begin_step() override {}
  Tensor scratch(std::int32_t, std::int32_t) override { return {}; }
  void embedding(const kernels::Weight&, std::span<const std::int32_t>, Tensor, bool) override {}
  void layer_norm(Tensor, const kernels::Weight&, const kernels::Weight&, float, Tensor) override {}
  void rms_norm(Tensor, const kernels::Weight&, float, Tensor) override {}
  void linear(Tensor, const kernels::Weight&, const kernels::Weight*, kernels::Activation, bool,
              Tensor) override {}
  void silu_mul(Tensor, Tensor) override {}
  void rotary(Tensor, std::int32_t, std::int32_t, std::span<const std::int32_t>,
              const kernels::Rotary&) override {}
  void write_kv(std::int32_t, Tensor, std::int32_t, const kernels::AttentionBatch&) override {}
  void attention(std::int32_t, Tensor, std::int32_t, float, const kernels::AttentionBatch&, Tensor) override {
  }
  void gather_rows(Tensor, std::span<const std::int32_t>, Tensor) override {}
  void sample(Tensor, std::span<const kernels::SampleSpec>, std::span<const std::int32_t>,
              std::span<const float>, std::span<kernels::Candidate>) override {}
  void copy_blocks(std::span<const kernels::BlockCopy>) override {}
  void swap_out(std::span<const kernels::BlockCopy>) override {}
  void swap_in(std::span<const kernels::BlockCopy>) override {}
  void synchronize() override {}
  double seconds_in(kernels::OpKind) const override { return 0; }

 private:
  std::unique_ptr<kernels::Weight> pack(std::span<const HostTensor> parts) {
    packed.emplace_back(parts.begin(), parts.end());
    auto weight = std::make_unique<Packed>();
    for (const HostTensor& part : parts) {
      numbers += part.rows * part.cols;
      weight->height += part.rows;
      weight->width = part.cols;
    }
    return weight;
  }
};

ModelShape shrunk(const std::string& name) {
  ModelShape shape = *find_shape(name);
  const std::int32_t group = shape.heads / shape.kv_heads;
  shape.layers = 2;
  shape.heads = 2 * group;
  shape.kv_heads = 2;
  shape.head_size = 64;
  shape.hidden = shape.heads * 64;
  shape.embedding_size = find_shape(name)->pre_norm ? shape.hidden : 32;
  shape.ffn = 96;
  shape.vocab = 50;
  return shape;
}

TEST(RandomModel, PacksAsManyNumbersAsTheShapeHasParameters) {
  for (const char* const name :
       {"opt-125m", "opt-350m", "gpt2", "llama-7b", "tinyllama-1.1b", "llama-110m"}) {
    const ModelShape shape = shrunk(name);
    RecordingOps ops;
    const auto model = random_model(shape, 1, ops);
    const std::int64_t padding =
        shape.family->name == "opt" ? 2 * shape.hidden : 0;  // rows that no token uses
    EXPECT_EQ(ops.numbers + padding, shape.parameters()) << name;
  }
}

TEST(RandomModel, RefusesHeadsThatTheKernelsCannotRun) {
  ModelShape shape = shrunk("gpt2");
  shape.head_size = 48;
  RecordingOps ops;
  EXPECT_THROW(random_model(shape, 1, ops), InputError);
}

std::vector<float> draw(std::uint64_t seed, const TensorSpec& spec) {
  HostBuffer buffer;
  const HostTensor tensor = RandomWeights(seed).read(spec, buffer);
  const auto* const begin = static_cast<const float*>(tensor.data);
  return {begin, begin + tensor.rows * tensor.cols};
}

TEST(RandomWeights, AreNormalEnough) {
  const auto values = draw(1, {.name = "a", .rows = 1000, .cols = 1000, .mean = 1.0f});
  double sum = 0;
  double squares = 0;
  for (const float value : values) {
    sum += value - 1;
    squares += (value - 1.0) * (value - 1.0);
  }
  EXPECT_NEAR(sum / 1e6, 0, 1e-4);
  EXPECT_NEAR(std::sqrt(squares / 1e6), 0.02, 1e-4);
}

TEST(RandomWeights, DependOnSeedAndNameAlone) {
  const TensorSpec large = {.name = "a", .rows = 2048, .cols = 1024};  // large enough for several threads
  const auto values = draw(1, large);
  EXPECT_EQ(values, draw(1, large));
  const auto small = draw(1, {.name = "a", .rows = 3, .cols = 5});  // one thread
  EXPECT_TRUE(std::equal(small.begin(), small.end(), values.begin()));
  EXPECT_NE(values, draw(2, large));
  EXPECT_NE(values, draw(1, {.name = "b", .rows = 2048, .cols = 1024}));
}

/// A folder with a GPT-2 of one layer, whose tensors a test may change.
struct Folder {
  std::string prefix = "transformer.";
  std::vector<test::FileTensor> tensors = {{"wte.weight", {10, 64}},
                                           {"wpe.weight", {8, 64}},
                                           {"h.0.ln_1.weight", {64}},
                                           {"h.0.ln_1.bias", {64}},
                                           {"h.0.attn.c_attn.weight", {64, 192}},
                                           {"h.0.attn.c_attn.bias", {192}},
                                           {"h.0.attn.c_proj.weight", {64, 64}},
                                           {"h.0.attn.c_proj.bias", {64}},
                                           {"h.0.ln_2.weight", {64}},
                                           {"h.0.ln_2.bias", {64}},
                                           {"h.0.mlp.c_fc.weight", {64, 256}},
                                           {"h.0.mlp.c_fc.bias", {256}},
                                           {"h.0.mlp.c_proj.weight", {256, 64}},
                                           {"h.0.mlp.c_proj.bias", {64}},
                                           {"ln_f.weight", {64}},
                                           {"ln_f.bias", {64}}};
  bool misalign = false;

  test::FileTensor& operator[](const std::string& name) {
    return *std::find_if(tensors.begin(), tensors.end(),
                         [&](const auto& tensor) { return tensor.name == name; });
  }

  /// What loading says.
  std::string load(RecordingOps& ops) const {
    const test::TemporaryFolder folder;
    folder.write(
        "config.json",
        R"({"model_type":"gpt2","n_embd":64,"n_layer":1,"n_head":1,"n_positions":8,"vocab_size":10})");
    std::vector<test::FileTensor> prefixed = tensors;
    for (test::FileTensor& tensor : prefixed) {
      tensor.name = tensor.name == "lm_head.weight" ? tensor.name : prefix + tensor.name;
    }
    folder.write("model.safetensors", test::safetensors_of(prefixed, misalign));
    try {
      load_model(folder.path().string(), 0, ops);
    } catch (const InputError& error) {
      return error.what();
    }
    return "loaded";
  }
  std::string load() const {
    RecordingOps ops;
    return load(ops);
  }
};

TEST(CheckpointWeights, AreFoundWithAndWithoutPrefix) {
  Folder folder;
  EXPECT_EQ(folder.load(), "loaded");
  folder.prefix = "";
  EXPECT_EQ(folder.load(), "loaded");
  folder.prefix = "bert.";
  EXPECT_THAT(folder.load(), HasSubstr("no tensor 'wte.weight' with any of the prefixes 'transformer.', ''"));
}

TEST(CheckpointWeights, MayHoldMasksAndACopyOfATiedHead) {
  Folder folder;
  folder.tensors.push_back({"h.0.attn.bias", {1, 1, 8, 8}, "BOOL", 1});
  folder.tensors.push_back({"lm_head.weight", {10, 64}});
  EXPECT_EQ(folder.load(), "loaded");
}

TEST(CheckpointWeights, RefuseMissingAndUnexpectedTensors) {
  Folder missing;
  missing["h.0.ln_2.bias"].name = "h.0.ln_3.bias";
  EXPECT_THAT(missing.load(), HasSubstr("tensor 'transformer.h.0.ln_2.bias' is missing"));
  Folder unexpected;
  unexpected.tensors.push_back({"h.1.ln_1.bias", {64}});
  EXPECT_THAT(unexpected.load(),
              HasSubstr("tensor 'transformer.h.1.ln_1.bias': not a weight of the gpt2 model"));
}

TEST(CheckpointWeights, RefuseWrongShapesAndDtypes) {
  Folder shape;
  shape["h.0.attn.c_attn.weight"].shape = {192, 64};
  EXPECT_THAT(shape.load(), HasSubstr("tensor 'transformer.h.0.attn.c_attn.weight': shape [192, 64], but "
                                      "config.json asks for [64, 192]"));
  Folder dtype;
  dtype["ln_f.bias"].dtype = "I32";
  EXPECT_THAT(dtype.load(), HasSubstr("tensor 'transformer.ln_f.bias': weights of dtype I32 are not "
                                      "supported (supported: F32, BF16, F16)"));
}

TEST(CheckpointWeights, MayBeMisaligned) {
  Folder folder;
  folder.misalign = true;
  RecordingOps ops;
  EXPECT_EQ(folder.load(ops), "loaded");
  for (const auto& parts : ops.packed) {
    for (const HostTensor& part : parts) {
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(part.data) % 4, 0u);
    }
  }
}

}  // namespace
}  // namespace pagelab
