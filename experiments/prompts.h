// PromptSource: the token ids of prompts. Each token is a function of the seed and of where it stands alone:
// of the request and the position, or where the trace names the prompt's blocks, of the block id and the
// offset, so that prompts share exactly the prefixes that the trace says they share. A prefix that all
// requests share depends on the position alone. Nothing is stored.
#pragma once

#include <cstdint>
#include <vector>

#include "core/ids.h"
#include "experiments/lengths.h"

namespace pagelab {

class PromptSource {
 public:
  /// Tokens are in [0, vocabulary). Requires vocabulary > 0.
  PromptSource(std::uint64_t seed, std::int64_t vocabulary);

  /// The prompt of the shape behind a prefix of `shared` tokens that is the same for all requests.
  std::vector<TokenId> make(RequestId request, const RequestShape& shape, Tokens shared = Tokens(0)) const;

 private:
  /// Tokens at offsets 0, 1, ... of the stream `id` of one kind.
  void fill(std::uint32_t kind, std::uint64_t id, TokenId* out, std::int64_t count) const;

  std::uint64_t key_;
  std::uint64_t vocabulary_;
};

}  // namespace pagelab
