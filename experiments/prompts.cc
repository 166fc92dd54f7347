#include "experiments/prompts.h"

#include <algorithm>

#include "core/error.h"
#include "core/random.h"

namespace pagelab {
namespace {

constexpr std::uint32_t kByRequest = 0;
constexpr std::uint32_t kByBlock = 1;
constexpr std::uint32_t kShared = 2;

}  // namespace

PromptSource::PromptSource(std::uint64_t seed, std::int64_t vocabulary)
    : key_(derive_seed(seed, "prompts")), vocabulary_(static_cast<std::uint64_t>(vocabulary)) {
  PAGELAB_INVARIANT(vocabulary > 0 && vocabulary <= INT32_MAX, "a vocabulary of int32 token ids");
}

std::vector<TokenId> PromptSource::make(RequestId request, const RequestShape& shape, Tokens shared) const {
  std::vector<TokenId> tokens(static_cast<std::size_t>((shared + shape.prompt).value()));
  fill(kShared, 0, tokens.data(), shared.value());
  TokenId* const own = tokens.data() + shared.value();
  if (shape.blocks.empty()) {
    fill(kByRequest, static_cast<std::uint64_t>(request.value()), own, shape.prompt.value());
    return tokens;
  }
  std::int64_t done = 0;
  for (const std::uint64_t id : shape.blocks) {
    const std::int64_t count = std::min(shape.block_tokens.value(), shape.prompt.value() - done);
    if (count <= 0) {
      break;
    }
    fill(kByBlock, id, own + done, count);
    done += count;
  }
  PAGELAB_INVARIANT(done == shape.prompt.value(), "block ids cover the prompt");
  return tokens;
}

void PromptSource::fill(std::uint32_t kind, std::uint64_t id, TokenId* out, std::int64_t count) const {
  for (std::int64_t i = 0; i < count; i += 4) {
    const auto bits = philox({static_cast<std::uint32_t>(i / 4), kind, static_cast<std::uint32_t>(id),
                              static_cast<std::uint32_t>(id >> 32)},
                             {static_cast<std::uint32_t>(key_), static_cast<std::uint32_t>(key_ >> 32)});
    for (std::int64_t j = i; j < std::min(i + 4, count); ++j) {
      // 32 bits times the vocabulary, upper half: as good as uniform for vocabularies far below 2^32.
      out[j] = static_cast<TokenId>((bits[static_cast<std::size_t>(j - i)] * vocabulary_) >> 32);
    }
  }
}

}  // namespace pagelab
