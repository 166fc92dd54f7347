#include "kernels/cpu/sampling.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/cpu/sampling_kernels.h"

namespace pagelab::kernels::cpu {
namespace {

constexpr std::int32_t kBuckets = 2048;
/// Logits this far below the largest share the last bucket.
constexpr float kBucketRange = 48.0f;

struct Ranked {
  float logit;
  std::int32_t id;
};

bool before(const Ranked& a, const Ranked& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/// One row of logits. Its scratch memory is kept by the thread from one row to the next.
class Row {
 public:
  Row(const float* logits, std::int32_t count)
      : logits_(logits), count_(count), range_(row_range(logits, count)) {
    if (valid()) {
      log_sum_ = std::log(sum_weights(1.0f, LastKept{}));
      // The floor keeps the scale finite when all logits are (nearly) equal.
      const float span = std::clamp(range_.max - range_.min, 1e-20f, kBucketRange);
      bucket_scale_ = static_cast<float>(kBuckets - 1) / span;
    }
  }

  bool valid() const { return range_.argmax >= 0; }

  Candidate best() const { return candidate(range_.argmax); }

  /// The out.size() largest, in order.
  void top(std::span<Candidate> out) {
    const auto wanted = static_cast<std::int32_t>(out.size());
    count_buckets();
    const std::int32_t bucket = bucket_of_rank(wanted);
    collect(0, bucket, LastKept{});
    std::partial_sort(picked_.begin(), picked_.begin() + wanted, picked_.end(), before);
    std::transform(picked_.begin(), picked_.begin() + wanted, out.begin(),
                   [&](const Ranked& ranked) { return candidate(ranked.id); });
  }

  void draw(const SampleSpec& spec, std::span<const float> uniforms, std::span<Candidate> out) {
    const float inverse_temperature = 1.0f / spec.temperature;
    LastKept last;
    if (spec.top_k > 0 && spec.top_k < count_) {
      last = rank(spec.top_k);
    }
    if (spec.top_p < 1.0f) {
      last = nucleus(spec.top_p, inverse_temperature, last);
    }
    const double total = sum_weights(inverse_temperature, last);
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = candidate(locate(static_cast<double>(uniforms[i]) * total, inverse_temperature, last));
    }
  }

 private:
  Candidate candidate(std::int32_t id) const {
    return {id, static_cast<float>(static_cast<double>(logits_[id] - range_.max) - log_sum_)};
  }

  template <class Body>
  void for_each_block(Body&& body) const {
    for (std::int32_t first = 0; first < count_; first += kWeightBlock) {
      body(first, std::min(kWeightBlock, count_ - first));
    }
  }

  /// Sums the weights by block, for locate(), and in all.
  double sum_weights(float inverse_temperature, LastKept last) {
    std::array<float, kWeightBlock> weights;
    double total = 0;
    block_sums_.clear();
    for_each_block([&](std::int32_t first, std::int32_t size) {
      block_sums_.push_back(
          block_weights(logits_, first, size, range_.max, inverse_temperature, last, weights.data()));
      total += block_sums_.back();
    });
    return total;
  }

  /// The first kept token at which the sum of weights passes `target`.
  std::int32_t locate(double target, float inverse_temperature, LastKept last) const {
    std::size_t block = 0;
    double passed = 0;
    std::size_t last_block = 0;
    for (; block < block_sums_.size() && passed + block_sums_[block] <= target; ++block) {
      passed += block_sums_[block];
      last_block = block_sums_[block] > 0 ? block : last_block;
    }
    if (block == block_sums_.size()) {  // rounding carried the target past the end
      block = last_block;
      passed = target;
    }
    std::array<float, kWeightBlock> weights;
    const auto first = static_cast<std::int32_t>(block) * kWeightBlock;
    const std::int32_t size = std::min(kWeightBlock, count_ - first);
    block_weights(logits_, first, size, range_.max, inverse_temperature, last, weights.data());
    std::int32_t found = 0;
    for (std::int32_t i = 0; i < size; ++i) {
      if (weights[static_cast<std::size_t>(i)] > 0) {
        found = first + i;
        passed += static_cast<double>(weights[static_cast<std::size_t>(i)]);
        if (passed > target) {
          break;
        }
      }
    }
    return found;
  }

  /// Buckets split the logits into classes of falling value: body(id, bucket) for every token.
  template <class Body>
  void for_each_bucket(Body&& body) const {
    std::array<std::int32_t, kWeightBlock> buckets;
    for_each_block([&](std::int32_t first, std::int32_t size) {
      block_buckets(logits_ + first, size, range_.max, bucket_scale_, kBuckets - 1, buckets.data());
      for (std::int32_t i = 0; i < size; ++i) {
        body(first + i, buckets[static_cast<std::size_t>(i)]);
      }
    });
  }

  void count_buckets() {
    counts_.fill(0);
    for_each_bucket([&](std::int32_t, std::int32_t bucket) { ++counts_[static_cast<std::size_t>(bucket)]; });
  }

  /// The bucket of the k-th token in order, after count_buckets(); leaves the number before it in passed_.
  std::int32_t bucket_of_rank(std::int32_t k) {
    std::int32_t bucket = 0;
    for (passed_ = 0; passed_ + counts_[static_cast<std::size_t>(bucket)] < k; ++bucket) {
      passed_ += counts_[static_cast<std::size_t>(bucket)];
    }
    return bucket;
  }

  void collect(std::int32_t first_bucket, std::int32_t last_bucket, LastKept last) {
    picked_.clear();
    for_each_bucket([&](std::int32_t id, std::int32_t bucket) {
      const Ranked ranked{logits_[id], id};
      if (bucket >= first_bucket && bucket <= last_bucket && !before({last.logit, last.id}, ranked)) {
        picked_.push_back(ranked);
      }
    });
  }

  /// The k-th token in order.
  LastKept rank(std::int32_t k) {
    count_buckets();
    const std::int32_t bucket = bucket_of_rank(k);
    collect(bucket, bucket, LastKept{});
    const auto found = picked_.begin() + (k - passed_ - 1);
    std::nth_element(picked_.begin(), found, picked_.end(), before);
    return {found->logit, found->id};
  }

  /// The token at which the tokens up to `last` reach `top_p` of their probability.
  LastKept nucleus(float top_p, float inverse_temperature, LastKept last) {
    std::array<float, kWeightBlock> weights;
    std::array<std::int32_t, kWeightBlock> buckets;
    masses_.fill(0);
    double total = 0;
    for_each_block([&](std::int32_t first, std::int32_t size) {
      total += block_weights(logits_, first, size, range_.max, inverse_temperature, last, weights.data());
      block_buckets(logits_ + first, size, range_.max, bucket_scale_, kBuckets - 1, buckets.data());
      for (std::size_t i = 0; i < static_cast<std::size_t>(size); ++i) {
        masses_[static_cast<std::size_t>(buckets[i])] += static_cast<double>(weights[i]);
      }
    });
    const double target = static_cast<double>(top_p) * total;
    std::int32_t bucket = 0;
    double mass = 0;
    while (bucket + 1 < kBuckets && mass + masses_[static_cast<std::size_t>(bucket)] < target) {
      mass += masses_[static_cast<std::size_t>(bucket++)];
    }
    collect(bucket, bucket, last);
    std::sort(picked_.begin(), picked_.end(), before);
    for (const Ranked& ranked : picked_) {
      float weight;
      mass += block_weights(logits_, ranked.id, 1, range_.max, inverse_temperature, LastKept{}, &weight);
      if (mass >= target) {
        return {ranked.logit, ranked.id};
      }
    }
    return picked_.empty() ? last : LastKept{picked_.back().logit, picked_.back().id};
  }

  const float* logits_;
  std::int32_t count_;
  RowRange range_;
  double log_sum_ = 0;
  float bucket_scale_ = 0;
  std::int32_t passed_ = 0;
  static thread_local std::vector<double> block_sums_;
  static thread_local std::vector<Ranked> picked_;
  static thread_local std::array<std::int32_t, kBuckets> counts_;
  static thread_local std::array<double, kBuckets> masses_;
};

thread_local std::vector<double> Row::block_sums_;
thread_local std::vector<Ranked> Row::picked_;
thread_local std::array<std::int32_t, kBuckets> Row::counts_;
thread_local std::array<double, kBuckets> Row::masses_;

void check(const SampleSpec& spec, std::int32_t row, std::int32_t vocabulary) {
  const auto require = [&](bool valid, const char* what) {
    if (!valid) {
      throw std::invalid_argument("sampling, row " + std::to_string(row) + ": " + what);
    }
  };
  require(spec.count >= 1, "count must be at least 1");
  require(spec.kind != SampleSpec::Kind::top || spec.count <= vocabulary, "count exceeds the vocabulary");
  require(spec.kind != SampleSpec::Kind::random || spec.temperature > 0, "temperature must be positive");
  require(spec.top_k >= 0, "top_k must not be negative");
  require(spec.top_p > 0 && spec.top_p <= 1, "top_p must be in (0, 1]");
}

}  // namespace

void sample(ThreadPool& pool, Tensor logits, std::span<const SampleSpec> specs,
            std::span<const std::int32_t> indptr, std::span<const float> uniforms, std::span<Candidate> out) {
  for (std::size_t i = 0; i < specs.size(); ++i) {
    check(specs[i], static_cast<std::int32_t>(i), logits.cols);
  }
  std::atomic<std::int32_t> first_bad{logits.rows};
  pool.for_each(static_cast<std::int64_t>(specs.size()), [&](std::int64_t item, int) {
    const auto index = static_cast<std::size_t>(item);
    const SampleSpec& spec = specs[index];
    const auto begin = static_cast<std::size_t>(indptr[index]);
    const auto count = static_cast<std::size_t>(indptr[index + 1]) - begin;
    Row row(logits.row(static_cast<std::int32_t>(item)), logits.cols);
    if (!row.valid()) {
      std::int32_t seen = first_bad.load();
      while (item < seen && !first_bad.compare_exchange_weak(seen, static_cast<std::int32_t>(item))) {
      }
      return;
    }
    switch (spec.kind) {
      case SampleSpec::Kind::greedy:
        std::fill_n(out.begin() + static_cast<std::ptrdiff_t>(begin), count, row.best());
        break;
      case SampleSpec::Kind::random:
        row.draw(spec, uniforms.subspan(begin, count), out.subspan(begin, count));
        break;
      case SampleSpec::Kind::top:
        row.top(out.subspan(begin, count));
        break;
    }
  });
  if (first_bad.load() < logits.rows) {
    throw std::runtime_error("logits of row " + std::to_string(first_bad.load()) + " hold NaN or infinity");
  }
}

}  // namespace pagelab::kernels::cpu
