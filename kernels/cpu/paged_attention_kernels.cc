#include "kernels/cpu/paged_attention_kernels.h"

#include <algorithm>
#include <cstring>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/paged_attention_kernels.cc"
#include <hwy/foreach_target.h>
// Highway must come first.
#include <hwy/highway.h>

#include "kernels/cpu/exp2-inl.h"
#include "kernels/cpu/paged_attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagelab::kernels::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void PackQueries(const float* const* q, std::int32_t rows, std::int32_t head_size, float factor,
                 float* packed) {
  for_each_row_tile(rows, [&](std::int32_t first, auto count) {
    float* tile = packed + std::ptrdiff_t{first} * head_size;
    for (std::int32_t d = 0; d < head_size; ++d) {
      for (std::int32_t row = 0; row < count; ++row) {
        *tile++ = q[first + row][d] * factor;
      }
    }
  });
}

void AttendPartition(const PartitionTask& task, const RowStates& states) {
  switch (task.dtype) {
    case DType::f32:
      return Partition<float>(task, states).run();
    case DType::bf16:
      return Partition<hwy::bfloat16_t>(task, states).run();
    case DType::f16:
      return Partition<hwy::float16_t>(task, states).run();
  }
}

void AddPartitionWeights(const PartitionTask& task, const float* max, const float* sum, double* weights) {
  const RowStates none{};
  switch (task.dtype) {
    case DType::f32:
      return Partition<float>(task, none).add_weights(max, sum, weights);
    case DType::bf16:
      return Partition<hwy::bfloat16_t>(task, none).add_weights(max, sum, weights);
    case DType::f16:
      return Partition<hwy::float16_t>(task, none).add_weights(max, sum, weights);
  }
}

float exp2_one(float x) {
  const hn::CappedTag<float, 1> d;
  return hn::GetLane(exp2_nonpositive(d, hn::Set(d, x)));
}

void MergeState(float& max, float& sum, float* acc, float next_max, float next_sum, const float* next_acc,
                std::int32_t head_size) {
  const hn::CappedTag<float, 8> d;
  const float merged = std::max(max, next_max);
  const float old_factor = exp2_one(max - merged);
  const float new_factor = exp2_one(next_max - merged);
  const auto old_factors = hn::Set(d, old_factor);
  const auto new_factors = hn::Set(d, new_factor);
  for (std::int32_t i = 0; i < head_size; i += static_cast<std::int32_t>(hn::Lanes(d))) {
    const auto kept = hn::Mul(hn::LoadU(d, acc + i), old_factors);
    hn::StoreU(hn::MulAdd(hn::LoadU(d, next_acc + i), new_factors, kept), d, acc + i);
  }
  sum = sum * old_factor + next_sum * new_factor;
  max = merged;
}

void FinishRow(const float* acc, float sum, float* out, std::int32_t head_size) {
  const hn::CappedTag<float, 8> d;
  const auto inverse = hn::Set(d, 1.0f / sum);
  for (std::int32_t i = 0; i < head_size; i += static_cast<std::int32_t>(hn::Lanes(d))) {
    hn::StoreU(hn::Mul(hn::LoadU(d, acc + i), inverse), d, out + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagelab::kernels::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagelab::kernels::cpu {
HWY_EXPORT(PackQueries);
HWY_EXPORT(AttendPartition);
HWY_EXPORT(AddPartitionWeights);
HWY_EXPORT(MergeState);
HWY_EXPORT(FinishRow);

void pack_queries(const float* const* q, std::int32_t rows, std::int32_t head_size, float factor,
                  float* packed) {
  HWY_DYNAMIC_DISPATCH(PackQueries)(q, rows, head_size, factor, packed);
}

void attend_partition(const PartitionTask& task, const RowStates& states) {
  HWY_DYNAMIC_DISPATCH(AttendPartition)(task, states);
}

void add_partition_weights(const PartitionTask& task, const float* max, const float* sum, double* weights) {
  HWY_DYNAMIC_DISPATCH(AddPartitionWeights)(task, max, sum, weights);
}

void merge_state(float& max, float& sum, float* acc, float next_max, float next_sum, const float* next_acc,
                 std::int32_t head_size) {
  HWY_DYNAMIC_DISPATCH(MergeState)(max, sum, acc, next_max, next_sum, next_acc, head_size);
}

void finish_row(const float* acc, float sum, float* out, std::int32_t head_size) {
  HWY_DYNAMIC_DISPATCH(FinishRow)(acc, sum, out, head_size);
}

}  // namespace pagelab::kernels::cpu
#endif
