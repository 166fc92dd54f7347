#include "kernels/cpu/activation.h"

#include "kernels/cpu/row_blocks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/activation.cc"
#include <hwy/foreach_target.h>
// Highway must come first.
#include <hwy/highway.h>

#include "kernels/cpu/activation-inl.h"
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagelab::kernels::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void SiluMulRow(const float* gate, const float* up, std::int64_t count, float* out) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < count; i += lanes) {
    const auto product =
        hn::Mul(silu(d, load_first(d, gate + i, count - i)), load_first(d, up + i, count - i));
    store_first(product, d, out + i, count - i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagelab::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagelab::kernels::cpu {

HWY_EXPORT(SiluMulRow);

void silu_mul(ThreadPool& pool, Tensor x, Tensor out) {
  for_each_row(pool, x.rows, x.cols, [&](std::int32_t row) {
    HWY_DYNAMIC_DISPATCH(SiluMulRow)(x.row(row), x.row(row) + out.cols, out.cols, out.row(row));
  });
}

}  // namespace pagelab::kernels::cpu
#endif  // HWY_ONCE
