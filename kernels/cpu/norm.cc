#include "kernels/cpu/norm.h"

#include <cmath>

#include "kernels/cpu/row_blocks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/norm.cc"
#include <hwy/foreach_target.h>
// Highway must come first.
#include <hwy/highway.h>

#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagelab::kernels::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using V = hn::Vec<F32>;

struct Plain {
  V operator()(F32, V x) const { return x; }
};
struct Square {
  V operator()(F32, V x) const { return hn::Mul(x, x); }
};
struct SquaredDistance {
  float mean;
  V operator()(F32 d, V x) const {
    const V distance = hn::Sub(x, hn::Set(d, mean));
    return hn::Mul(distance, distance);
  }
};

/// The sum of term(x[i]), in four running vectors so that additions overlap.
template <class Term>
HWY_INLINE float sum_of(const float* x, std::int64_t count, Term term) {
  const F32 d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  V sum0 = hn::Zero(d);
  V sum1 = hn::Zero(d);
  V sum2 = hn::Zero(d);
  V sum3 = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    sum0 = hn::Add(sum0, term(d, hn::LoadU(d, x + i)));
    sum1 = hn::Add(sum1, term(d, hn::LoadU(d, x + i + lanes)));
    sum2 = hn::Add(sum2, term(d, hn::LoadU(d, x + i + 2 * lanes)));
    sum3 = hn::Add(sum3, term(d, hn::LoadU(d, x + i + 3 * lanes)));
  }
  for (; i + lanes <= count; i += lanes) {
    sum0 = hn::Add(sum0, term(d, hn::LoadU(d, x + i)));
  }
  if (i < count) {
    const auto valid = hn::FirstN(d, static_cast<std::size_t>(count - i));
    sum1 = hn::Add(sum1, hn::IfThenElseZero(valid, term(d, load_first(d, x + i, count - i))));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3))));
}

void LayerNormRow(const float* x, const float* gamma, const float* beta, float epsilon, std::int64_t count,
                  float* out) {
  const F32 d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const float inverse_count = 1.0f / static_cast<float>(count);
  const float mean = sum_of(x, count, Plain{}) * inverse_count;
  const float variance = sum_of(x, count, SquaredDistance{mean}) * inverse_count;
  const V center = hn::Set(d, mean);
  const V scale = hn::Set(d, 1.0f / std::sqrt(variance + epsilon));
  for (std::int64_t i = 0; i < count; i += lanes) {
    const std::int64_t left = count - i;
    const V unit = hn::Mul(hn::Sub(load_first(d, x + i, left), center), scale);
    const V value = hn::MulAdd(unit, load_first(d, gamma + i, left), load_first(d, beta + i, left));
    store_first(value, d, out + i, left);
  }
}

void RmsNormRow(const float* x, const float* gamma, float epsilon, std::int64_t count, float* out) {
  const F32 d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const float mean_square = sum_of(x, count, Square{}) / static_cast<float>(count);
  const V scale = hn::Set(d, 1.0f / std::sqrt(mean_square + epsilon));
  for (std::int64_t i = 0; i < count; i += lanes) {
    const std::int64_t left = count - i;
    const V unit = hn::Mul(load_first(d, x + i, left), scale);
    store_first(hn::Mul(unit, load_first(d, gamma + i, left)), d, out + i, left);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagelab::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagelab::kernels::cpu {

HWY_EXPORT(LayerNormRow);
HWY_EXPORT(RmsNormRow);

void layer_norm(ThreadPool& pool, Tensor x, const float* gamma, const float* beta, float epsilon,
                Tensor out) {
  for_each_row(pool, x.rows, x.cols, [&](std::int32_t row) {
    HWY_DYNAMIC_DISPATCH(LayerNormRow)(x.row(row), gamma, beta, epsilon, x.cols, out.row(row));
  });
}

void rms_norm(ThreadPool& pool, Tensor x, const float* gamma, float epsilon, Tensor out) {
  for_each_row(pool, x.rows, x.cols, [&](std::int32_t row) {
    HWY_DYNAMIC_DISPATCH(RmsNormRow)(x.row(row), gamma, epsilon, x.cols, out.row(row));
  });
}

}  // namespace pagelab::kernels::cpu
#endif  // HWY_ONCE
