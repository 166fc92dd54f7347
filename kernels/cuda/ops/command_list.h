// CommandList: the kernels of a step, recorded as they are asked for and queued on a stream later, all at
// once. So the arrays of a whole step are uploaded in one piece before its first kernel, and a step whose
// commands are those of an earlier one can be replayed as a graph. Owns copies of the launchers' arguments;
// what they point to is not its own.
#pragma once

#include <cuda_runtime.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <new>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/cuda/tensor_views.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

class CommandList {
 public:
  struct Command {
    OpKind kind;
    void (*run)(const void* call, cudaStream_t stream);
    const void* call;
  };

  /// Records launcher(stream, arguments...), to be called by run(). Arguments are plain values, copied.
  template <class... Parameters, class... Arguments>
  void add(OpKind kind, void (*launcher)(cudaStream_t, Parameters...), Arguments&&... arguments) {
    using Call = std::pair<void (*)(cudaStream_t, Parameters...), std::tuple<std::decay_t<Parameters>...>>;
    static_assert(std::is_trivially_destructible_v<Call>);
    auto* call = new (memory_.allocate(sizeof(Call), alignof(Call)))
        Call(launcher, std::tuple<std::decay_t<Parameters>...>(std::forward<Arguments>(arguments)...));
    const auto run = [](const void* recorded, cudaStream_t stream) {
      const auto& [function, values] = *static_cast<const Call*>(recorded);
      std::apply([&, f = function](const auto&... value) { f(stream, value...); }, values);
    };
    commands_.push_back({kind, run, call});
    sign(launcher);
    std::apply([this](const auto&... value) { (this->sign(value), ...); }, call->second);
  }

  std::span<const Command> commands() const { return commands_; }
  bool empty() const { return commands_.empty(); }
  /// Launchers and arguments as words: equal for lists that do the same to the same memory.
  std::span<const std::uint64_t> signature() const { return signature_; }
  void clear() {
    commands_.clear();
    signature_.clear();
    memory_.release();
  }

 private:
  template <class T>
  void sign(const T& value) {
    if constexpr (std::is_floating_point_v<T>) {
      signature_.push_back(std::bit_cast<std::uint32_t>(value));
    } else {
      static_assert(std::has_unique_object_representations_v<T>, "padding would be signed");
      const std::size_t first = signature_.size();
      const auto bytes = std::as_bytes(std::span(&value, 1));
      signature_.resize(first + (bytes.size() + 7) / 8);
      std::memcpy(&signature_[first], bytes.data(), bytes.size());
    }
  }
  void sign(const PagedKv& kv) {
    sign(kv.keys);
    sign(kv.values);
    sign(kv.block_stride);
    sign(kv.block_size);
    sign(kv.kv_heads);
    sign(kv.head_size);
    sign(kv.dtype);
  }
  void sign(const AttentionQueries& queries) {
    sign(queries.qkv);
    sign(queries.qkv_stride);
    sign(queries.out);
    sign(queries.heads);
    sign(queries.scale);
  }

  static constexpr std::size_t kArgumentBytes = std::size_t{1}
                                                << 18;  // more than a step of 100 layers records

  std::vector<std::byte> first_ = std::vector<std::byte>(kArgumentBytes);
  std::pmr::monotonic_buffer_resource memory_{first_.data(), first_.size()};
  std::vector<Command> commands_;
  std::vector<std::uint64_t> signature_;
};

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
