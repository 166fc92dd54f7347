// Loads and stores of the end of an array, for any SIMD target: memory beyond it is never touched. Included
// once per target by the sources that use Highway's dynamic dispatch.
#if defined(PAGELAB_KERNELS_CPU_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAGELAB_KERNELS_CPU_VECTOR_INL_H_
#undef PAGELAB_KERNELS_CPU_VECTOR_INL_H_
#else
#define PAGELAB_KERNELS_CPU_VECTOR_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace pagelab::kernels::cpu {
namespace HWY_NAMESPACE {

/// The first `count` values from `data`, the other lanes zero; `count` may exceed the lanes.
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> load_first(D d, const float* data, std::int64_t count) {
  namespace hn = hwy::HWY_NAMESPACE;
  if (HWY_LIKELY(count >= static_cast<std::int64_t>(hn::Lanes(d)))) {
    return hn::LoadU(d, data);
  }
  HWY_ALIGN float staged[hn::MaxLanes(d)] = {};
  std::memcpy(staged, data, static_cast<std::size_t>(count) * sizeof(float));
  return hn::Load(d, staged);
}

/// Stores the first `count` lanes of `value`; `count` may exceed the lanes.
template <class D>
HWY_INLINE void store_first(hwy::HWY_NAMESPACE::Vec<D> value, D d, float* data, std::int64_t count) {
  namespace hn = hwy::HWY_NAMESPACE;
  if (HWY_LIKELY(count >= static_cast<std::int64_t>(hn::Lanes(d)))) {
    hn::StoreU(value, d, data);
    return;
  }
  HWY_ALIGN float staged[hn::MaxLanes(d)];
  hn::Store(value, d, staged);
  std::memcpy(data, staged, static_cast<std::size_t>(count) * sizeof(float));
}

}  // namespace HWY_NAMESPACE
}  // namespace pagelab::kernels::cpu
HWY_AFTER_NAMESPACE();

#endif
