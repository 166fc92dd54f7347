// PagedCase: sequences with their KV in a paged pool in device memory, the arrays of a step and the answer of
// the reference, for tests of attention kernels. Physical blocks are in random order, some blocks are
// nobody's, and every slot that holds no token is NaN; so are the K and V columns of qkv, which attention has
// no business with. Owns all memory. Stored values, q included, are exact in the case's dtype, so that the
// kernel and the reference start from the same numbers whether or not the kernel rounds q.
#pragma once

#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <ostream>
#include <random>
#include <span>
#include <vector>

#include "kernels/cpu/float_convert.h"
#include "kernels/cuda/tensor_views.h"
#include "kernels/reference/attention.h"
#include "tests/cuda/device_array.h"

namespace pagelab::testing {

using kernels::AttentionBatch;
using kernels::DType;
using kernels::KvShape;

/// A sequence of `cached` + `chunk` positions, whose last `chunk` are this step's queries.
struct PagedSequence {
  std::int32_t cached = 0;
  std::int32_t chunk = 1;
  std::int32_t context() const { return cached + chunk; }
};

struct PagedShape {
  std::int32_t kv_heads = 1;
  std::int32_t group = 1;  ///< query heads per kv head
  std::int32_t head_size = 64;
  std::int32_t block_size = 16;
  DType dtype = DType::f32;
};

inline void PrintTo(const PagedShape& shape, std::ostream* out) {
  *out << shape.kv_heads << " kv heads x " << shape.group << ", head size " << shape.head_size
       << ", blocks of " << shape.block_size << ", " << kernels::name_of(shape.dtype);
}

/// Any shape that the kernels serve; within a RapidCheck property.
inline PagedShape draw_paged_shape() {
  PagedShape shape;
  shape.kv_heads = *rc::gen::inRange(1, 4);
  shape.group = *rc::gen::inRange(1, 9);
  shape.head_size = *rc::gen::element(64, 80, 96, 128, 256);
  shape.block_size =
      *rc::gen::oneOf(rc::gen::element(1, 2, 8, 16, 32, 64, 128, 256), rc::gen::inRange(1, 257));
  shape.dtype = *rc::gen::element(DType::f32, DType::f16, DType::bf16);
  return shape;
}

/// The largest difference from the reference that rounding explains, |v| being at most 1. Everything is
/// computed in f32 except the weights p of the second product on tensor cores, which are rounded to the
/// storage type: that moves the result by at most u * max|v|, u = 2^-11 (f16) or 2^-8 (bf16), since sum(p |v|
/// u) / sum(p) <= u max|v|. Weights below 2^-14 are off by up to 2^-25 absolute in f16, which sums to less
/// than 1e-4 over the contexts of the tests.
inline double attention_tolerance(DType dtype) {
  constexpr double kF32 = 1e-5;
  return dtype == DType::f32 ? kF32 : dtype == DType::f16 ? 0x1p-11 + 1e-4 : 0x1p-8 + kF32;
}

class PagedCase {
 public:
  /// What `out` holds before a kernel writes it.
  static constexpr float kUntouched = -12345.0f;

  PagedCase(const PagedShape& shape, std::vector<PagedSequence> sequences, unsigned seed)
      : shape_(shape), sequences_(std::move(sequences)), random_(seed) {
    make_tables();
    make_queries();
    make_pool();
    make_device_arrays();
  }

  const PagedShape& shape() const { return shape_; }
  const std::vector<PagedSequence>& sequences() const { return sequences_; }
  std::int32_t heads() const { return shape_.kv_heads * shape_.group; }
  std::int32_t tokens() const { return query_indptr_.back(); }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(shape_.head_size)); }

  /// The arrays of the step in host memory, as a plan reads them.
  AttentionBatch host_batch() const {
    return {query_indptr_, kv_indptr_, kv_indices_, last_block_len_, positions_, slot_mapping_};
  }

  // --- What launchers are given.
  cuda::DeviceBatch batch() const {
    cuda::DeviceBatch batch;
    batch.query_indptr = device_->query_indptr.data();
    batch.kv_indptr = device_->kv_indptr.data();
    batch.kv_indices = device_->kv_indices.data();
    batch.last_block_len = device_->last_block_len.data();
    batch.positions = device_->positions.data();
    batch.slot_mapping = device_->slot_mapping.data();
    batch.sequences = static_cast<std::int32_t>(sequences_.size());
    batch.tokens = tokens();
    return batch;
  }
  cuda::PagedKv kv() const {
    cuda::PagedKv kv;
    kv.keys = device_->pool.data() + place(0, false) * element_bytes();
    kv.values = device_->pool.data() + place(0, true) * element_bytes();
    kv.block_stride = block_stride();
    kv.block_size = shape_.block_size;
    kv.kv_heads = shape_.kv_heads;
    kv.head_size = shape_.head_size;
    kv.dtype = shape_.dtype;
    return kv;
  }
  cuda::AttentionQueries queries() const {
    return {device_->qkv.data(), qkv_columns(), device_->out.data(), heads(), scale()};
  }

  void clear_out() { device_->out.upload(std::vector<float>(device_->out.size(), kUntouched)); }
  /// [tokens, heads * head_size]; waits for the kernels.
  std::vector<float> out() const { return device_->out.download(); }

  /// The largest difference of a sequence's rows of `out` from the reference; infinity if one is not a
  /// number.
  double error(const std::vector<float>& out, std::size_t sequence) {
    if (expected_.empty()) {
      compute_expected();
    }
    double worst = 0;
    for_each_element(sequence, [&](std::size_t i) {
      const double difference = std::abs(out[i] - expected_[i]);
      worst = std::isnan(difference) ? std::numeric_limits<double>::infinity() : std::max(worst, difference);
    });
    return worst;
  }
  /// No kernel has written a sequence's rows of `out`.
  bool untouched(const std::vector<float>& out, std::size_t sequence) const {
    bool same = true;
    for_each_element(sequence, [&](std::size_t i) { same = same && out[i] == kUntouched; });
    return same;
  }

  /// K or V of a stored token, exact.
  float key(std::size_t sequence, std::int32_t head, std::int32_t position, std::int32_t d) const {
    return load(element(sequence, head, position, d, false));
  }
  float value(std::size_t sequence, std::int32_t head, std::int32_t position, std::int32_t d) const {
    return load(element(sequence, head, position, d, true));
  }

 private:
  static constexpr std::int32_t kLayers = 2;  // the case's KV is the second layer's: a stride between blocks
  static constexpr std::int32_t kUnusedBlocks = 3;

  struct Device {
    DeviceArray<std::byte> pool;
    DeviceArray<float> qkv, out;
    DeviceArray<std::int32_t> query_indptr, kv_indptr, kv_indices, last_block_len, positions, slot_mapping;
  };

  std::size_t element_bytes() const { return kernels::size_of(shape_.dtype); }
  std::int64_t plane() const { return std::int64_t{shape_.kv_heads} * shape_.block_size * shape_.head_size; }
  std::int64_t block_stride() const { return plane() * 2 * kLayers; }
  std::int32_t blocks_of(std::int32_t context) const {
    return (context + shape_.block_size - 1) / shape_.block_size;
  }
  std::int32_t qkv_columns() const { return (heads() + 2 * shape_.kv_heads) * shape_.head_size; }
  /// First element of a block's K or V in the pool.
  std::int64_t place(std::int32_t block, bool values) const {
    return block * block_stride() + plane() * (2 * (kLayers - 1) + (values ? 1 : 0));
  }
  std::int64_t element(std::int32_t block, std::int32_t head, std::int32_t offset, std::int32_t d,
                       bool values) const {
    return place(block, values) + (std::int64_t{head} * shape_.block_size + offset) * shape_.head_size + d;
  }
  std::int64_t element(std::size_t sequence, std::int32_t head, std::int32_t position, std::int32_t d,
                       bool values) const {
    const auto entry = static_cast<std::size_t>(kv_indptr_[sequence] + position / shape_.block_size);
    return element(kv_indices_[entry], head, position % shape_.block_size, d, values);
  }
  float load(std::int64_t index) const {
    return kernels::cpu::load_as_f32(pool_.data(), shape_.dtype, index);
  }
  void store(std::int64_t index, float value) {
    std::byte* target = pool_.data() + static_cast<std::size_t>(index) * element_bytes();
    if (shape_.dtype == DType::f32) {
      std::memcpy(target, &value, sizeof value);
    } else {
      const std::uint16_t bits = bits_of(value);
      std::memcpy(target, &bits, sizeof bits);
    }
  }
  std::uint16_t bits_of(float value) const {
    return shape_.dtype == DType::f16 ? kernels::cpu::f32_to_f16(value) : kernels::cpu::f32_to_bf16(value);
  }
  /// Uniform in [-1, 1).
  float draw() { return static_cast<float>(random_() >> 8) * 0x1p-23f - 1.0f; }
  float draw_exact(float size) {
    const float value = draw() * size;
    if (shape_.dtype == DType::f32) {
      return value;
    }
    const std::uint16_t bits = bits_of(value);
    return kernels::cpu::load_as_f32(&bits, shape_.dtype, 0);
  }

  template <class Visit>
  void for_each_element(std::size_t sequence, Visit visit) const {
    const auto row = static_cast<std::size_t>(heads() * shape_.head_size);
    for (std::size_t i = static_cast<std::size_t>(query_indptr_[sequence]) * row;
         i < static_cast<std::size_t>(query_indptr_[sequence + 1]) * row; ++i) {
      visit(i);
    }
  }

  void make_tables() {
    total_blocks_ = kUnusedBlocks;
    for (const PagedSequence& sequence : sequences_) {
      total_blocks_ += blocks_of(sequence.context());
    }
    std::vector<std::int32_t> blocks(static_cast<std::size_t>(total_blocks_));
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), random_);
    auto next = blocks.begin();
    for (const PagedSequence& sequence : sequences_) {
      const std::int32_t context = sequence.context();
      const std::int32_t count = blocks_of(context);
      for (std::int32_t position = sequence.cached; position < context; ++position) {
        positions_.push_back(position);
        slot_mapping_.push_back(next[position / shape_.block_size] * shape_.block_size +
                                position % shape_.block_size);
      }
      kv_indices_.insert(kv_indices_.end(), next, next + count);
      next += count;
      query_indptr_.push_back(static_cast<std::int32_t>(positions_.size()));
      kv_indptr_.push_back(static_cast<std::int32_t>(kv_indices_.size()));
      last_block_len_.push_back(context == 0 ? shape_.block_size : (context - 1) % shape_.block_size + 1);
    }
  }

  /// q of such a size that scores have a standard deviation of 2: neither a flat softmax nor a single winner.
  void make_queries() {
    qkv_.assign(static_cast<std::size_t>(tokens()) * static_cast<std::size_t>(qkv_columns()),
                std::numeric_limits<float>::quiet_NaN());
    for (std::int32_t token = 0; token < tokens(); ++token) {
      for (std::int32_t i = 0; i < heads() * shape_.head_size; ++i) {
        qkv_[static_cast<std::size_t>(token) * static_cast<std::size_t>(qkv_columns()) +
             static_cast<std::size_t>(i)] = draw_exact(6.0f);
      }
    }
  }

  void make_pool() {
    pool_.assign(static_cast<std::size_t>(total_blocks_ * block_stride()) * element_bytes(), std::byte{0xff});
    for_each_run([&](std::int64_t first, std::int64_t count) {
      for (std::int64_t i = first; i < first + count; ++i) {
        store(i, draw_exact(1.0f));
      }
    });
  }

  /// The runs of elements (first, count) that hold tokens: of one block and head, K or V.
  template <class Visit>
  void for_each_run(Visit visit) const {
    for (std::size_t sequence = 0; sequence < sequences_.size(); ++sequence) {
      const std::int32_t context = sequences_[sequence].context();
      for (std::int32_t first = 0; first < context; first += shape_.block_size) {
        const std::int32_t slots = std::min(shape_.block_size, context - first);
        for (std::int32_t head = 0; head < shape_.kv_heads; ++head) {
          for (const bool values : {false, true}) {
            visit(element(sequence, head, first, 0, values), std::int64_t{slots} * shape_.head_size);
          }
        }
      }
    }
  }

  void make_device_arrays() {
    device_.reset(
        new Device{DeviceArray<std::byte>(pool_.size()), DeviceArray<float>(qkv_),
                   DeviceArray<float>(static_cast<std::size_t>(tokens() * heads() * shape_.head_size)),
                   DeviceArray<std::int32_t>(query_indptr_), DeviceArray<std::int32_t>(kv_indptr_),
                   DeviceArray<std::int32_t>(kv_indices_), DeviceArray<std::int32_t>(last_block_len_),
                   DeviceArray<std::int32_t>(positions_), DeviceArray<std::int32_t>(slot_mapping_)});
    upload_pool();
    clear_out();
  }

  void upload_pool() {
#ifdef PAGELAB_EMULATED_RUNTIME
    // The machine's fresh memory is NaN, and its checks report a read of what nobody has written: so a kernel
    // that loads a slot without a token is seen even if it drops the value.
    for_each_run([&](std::int64_t first, std::int64_t count) {
      const std::size_t offset = static_cast<std::size_t>(first) * element_bytes();
      cuda::check(cudaMemcpy(device_->pool.data() + offset, pool_.data() + offset,
                             static_cast<std::size_t>(count) * element_bytes(), cudaMemcpyHostToDevice),
                  "cudaMemcpy");
    });
#else
    device_->pool.upload(pool_);
#endif
  }

  void compute_expected() {
    KvShape shape;
    shape.layers = 1;
    shape.kv_heads = shape_.kv_heads;
    shape.head_size = shape_.head_size;
    shape.block_size = shape_.block_size;
    shape.dtype = shape_.dtype;
    const auto loader = [this](bool values) {
      return [this, values](std::int32_t block, std::int32_t head, std::int32_t offset, std::int32_t d) {
        return load(element(block, head, offset, d, values));
      };
    };
    const kernels::Tensor qkv{qkv_.data(), tokens(), qkv_columns()};
    expected_ = kernels::reference::paged_attention(shape, loader(false), loader(true), qkv, heads(),
                                                    double{scale()}, host_batch());
  }

  PagedShape shape_;
  std::vector<PagedSequence> sequences_;
  std::mt19937 random_;
  std::int32_t total_blocks_ = 0;
  std::vector<std::int32_t> query_indptr_{0}, kv_indptr_{0}, kv_indices_, last_block_len_, positions_,
      slot_mapping_;
  std::vector<float> qkv_;
  std::vector<std::byte> pool_;
  std::vector<double> expected_;
  std::unique_ptr<Device> device_;
};

}  // namespace pagelab::testing
