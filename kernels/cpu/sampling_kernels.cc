#include "kernels/cpu/sampling_kernels.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/sampling_kernels.cc"
#include <hwy/foreach_target.h>
// Highway must come first.
#include <hwy/highway.h>

#include "kernels/cpu/exp2-inl.h"
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagelab::kernels::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;

RowRange FindRange(const float* logits, std::int32_t count) {
  const Floats d;
  const auto lanes = static_cast<std::int32_t>(hn::Lanes(d));
  const float infinity = std::numeric_limits<float>::infinity();
  auto largest = hn::Set(d, -infinity);
  auto smallest = hn::Set(d, infinity);
  auto check_lanes = hn::Zero(d);  // NaN once a logit was
  std::int32_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto value = hn::LoadU(d, logits + i);
    largest = hn::Max(largest, value);
    smallest = hn::IfThenElse(hn::Gt(value, hn::Set(d, -infinity)), hn::Min(smallest, value), smallest);
    check_lanes = hn::IfThenElse(hn::Eq(value, value), check_lanes, value);
  }
  RowRange range{hn::GetLane(hn::MaxOfLanes(d, largest)), hn::GetLane(hn::MinOfLanes(d, smallest)), -1};
  float check = hn::GetLane(hn::SumOfLanes(d, check_lanes));
  for (; i < count; ++i) {
    range.max = std::max(range.max, logits[i]);
    range.min = logits[i] > -infinity ? std::min(range.min, logits[i]) : range.min;
    check = std::isnan(logits[i]) ? logits[i] : check;
  }
  if (std::isnan(check) || !std::isfinite(range.max)) {
    return range;
  }
  const auto wanted = hn::Set(d, range.max);
  for (i = 0; i + lanes <= count; i += lanes) {
    const auto found = hn::FindFirstTrue(d, hn::Eq(hn::LoadU(d, logits + i), wanted));
    if (found >= 0) {
      range.argmax = i + static_cast<std::int32_t>(found);
      return range;
    }
  }
  for (; i < count && range.argmax < 0; ++i) {
    range.argmax = logits[i] == range.max ? i : -1;
  }
  return range;
}

double BlockWeights(const float* logits, std::int32_t first, std::int32_t count, float max,
                    float inverse_temperature, LastKept last, float* weights) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const auto lanes = static_cast<std::int32_t>(hn::Lanes(d));
  const auto factor = hn::Set(d, inverse_temperature * 1.44269504f);
  const auto threshold = hn::Set(d, last.logit);
  const auto last_id = hn::Set(di, last.id);
  auto sums = hn::Zero(d);
  for (std::int32_t i = 0; i < count; i += lanes) {
    const auto value = load_first(d, logits + first + i, count - i);
    const auto ids = hn::Iota(di, first + i);
    const auto early = hn::RebindMask(d, hn::Not(hn::Gt(ids, last_id)));
    auto kept = hn::Or(hn::Gt(value, threshold), hn::And(hn::Eq(value, threshold), early));
    kept = hn::And(kept, hn::FirstN(d, static_cast<std::size_t>(count - i)));
    // The product can round to a tiny positive number only through max itself, where it is zero.
    const auto weight = exp2_nonpositive(d, hn::Mul(hn::Sub(value, hn::Set(d, max)), factor));
    const auto result = hn::IfThenElseZero(kept, weight);
    store_first(result, d, weights + i, count - i);
    sums = hn::Add(sums, result);
  }
  return static_cast<double>(hn::GetLane(hn::SumOfLanes(d, sums)));
}

void BlockBuckets(const float* logits, std::int32_t count, float max, float scale, std::int32_t limit,
                  std::int32_t* buckets) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const auto lanes = static_cast<std::int32_t>(hn::Lanes(d));
  const auto most = hn::Set(d, static_cast<float>(limit));
  std::int32_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto depth = hn::Mul(hn::Sub(hn::Set(d, max), hn::LoadU(d, logits + i)), hn::Set(d, scale));
    hn::StoreU(hn::ConvertTo(di, hn::Min(depth, most)), di, buckets + i);
  }
  for (; i < count; ++i) {
    buckets[i] = static_cast<std::int32_t>(std::min((max - logits[i]) * scale, static_cast<float>(limit)));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagelab::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagelab::kernels::cpu {
HWY_EXPORT(FindRange);
HWY_EXPORT(BlockWeights);
HWY_EXPORT(BlockBuckets);

RowRange row_range(const float* logits, std::int32_t count) {
  return HWY_DYNAMIC_DISPATCH(FindRange)(logits, count);
}

double block_weights(const float* logits, std::int32_t first, std::int32_t count, float max,
                     float inverse_temperature, LastKept last, float* weights) {
  return HWY_DYNAMIC_DISPATCH(BlockWeights)(logits, first, count, max, inverse_temperature, last, weights);
}

void block_buckets(const float* logits, std::int32_t count, float max, float scale, std::int32_t limit,
                   std::int32_t* buckets) {
  HWY_DYNAMIC_DISPATCH(BlockBuckets)(logits, count, max, scale, limit, buckets);
}

}  // namespace pagelab::kernels::cpu
#endif
