// What the prefix-caching policies have in common: sharing within a group and across requests, through an
// index.
#pragma once

#include <memory>
#include <vector>

#include "core/policies.h"
#include "core/prefix_index.h"

namespace pagelab {

inline std::vector<ParameterSpec> prefix_parameters() {
  return {{.name = "cache_outputs",
           .default_value = true,
           .help = "cache blocks that hold generated tokens too, as for the next turn of a conversation"}};
}

template <class Index>
class PrefixSharing final : public SharingPolicy {
 public:
  explicit PrefixSharing(const Parameters& parameters) : caches_outputs_(parameters.flag("cache_outputs")) {}

  bool within_group() const override { return true; }
  bool caches_outputs() const override { return caches_outputs_; }
  std::unique_ptr<PrefixIndex> make_index(Blocks capacity, Tokens block_size) const override {
    return std::make_unique<Index>(capacity, block_size);
  }

 private:
  bool caches_outputs_;
};

}  // namespace pagelab
