// Virtual allocation: a sequence's slots are at adjacent virtual addresses, and physical pages are mapped
// there on demand, so kernels need no block table (vAttention, ASPLOS 2025). Each layer has one such tensor
// for K and one for V; a page holds
//
//   page_bytes / (KV heads * head size * bytes of a number)   tokens of one of them, on one device,
//
// and a sequence that grows beyond it gets a page in each of the 2 * layers tensors. These pages together are
// a block here, so the block size must be the tokens of a page, and a sequence wastes what is left of its
// last page. Sequences share nothing. What mapping costs is the device's business (StepBatch::mapped).
#include <fmt/format.h>

#include "core/policy_registry.h"

namespace pagelab {
namespace {

class Virtual final : public AllocationPolicy {
 public:
  explicit Virtual(const Parameters& parameters)
      : page_(parameters.integer("page_bytes")), watermark_(parameters.real("watermark")) {}

  void start(const DeviceCapacity& device) override {
    if (device.row_bytes == Bytes(0)) {
      throw InputError(
          "policy.allocation: 'virtual' must know how many bytes a token's K takes in one layer; this "
          "device does not tell");
    }
    if (page_ == Bytes(0)) {
      return;
    }
    const std::int64_t row = device.row_bytes.value();
    const std::int64_t tokens = page_.value() / row;
    if (tokens * row != page_.value()) {
      const std::int64_t nearest = std::max<std::int64_t>(1, tokens) * row;
      throw InputError(
          fmt::format("key 'policy.allocation.page_bytes' is {}: that is no whole number of tokens, each of "
                      "which takes {} "
                      "bytes of K in one layer; {} or {} bytes are",
                      page_.value(), row, nearest, nearest + row));
    }
    if (device.block_size != Tokens(tokens)) {
      throw InputError(fmt::format(
          "key 'device.block_size' is {}: a page of {} bytes holds {} tokens, each of {} "
          "bytes of K in one layer; set device.block_size = {}, or policy.allocation."
          "page_bytes = {}",
          device.block_size.value(), page_.value(), tokens, row, tokens, device.block_size.value() * row));
    }
  }

  Tokens reserve(const GroupView&, Tokens known) override { return known; }
  bool maps_pages() const override { return true; }
  Blocks watermark(Blocks capacity) override {
    return Blocks(static_cast<std::int64_t>(watermark_ * static_cast<double>(capacity.value())));
  }

 private:
  Bytes page_;
  double watermark_;
};

}  // namespace

void register_allocation_virtual(PolicyRegistry& registry) {
  registry.add<AllocationPolicy, Virtual>(
      {.name = "virtual",
       .summary = "adjacent virtual addresses, pages mapped on demand",
       .source = "vAttention (ASPLOS 2025), sections 5 and 6",
       .parameters = {
           {.name = "page_bytes",
            .default_value = 0,
            .unit = "bytes",
            .help = "of a physical page, or of neighbouring pages mapped together; 0: what a block takes",
            .minimum = 0,
            .maximum = 1 << 30},
           {.name = "watermark",
            .default_value = 0.01,
            .unit = "share of the device blocks",
            .help = "kept free when a group is admitted or swapped in, so that running ones can append",
            .minimum = 0,
            .maximum = 1}}});
}

}  // namespace pagelab
