// Kernels that nvcc compiles for the tests of the PTX machine. Launchers: they queue work on the default
// stream.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

struct MixedParameters {
  std::int8_t small;
  double weight;
  std::int32_t table[5];
  std::uint16_t last;
};
/// out[i] = small + weight * table[i % 5] + last + byte + half_way, one block of `count` threads: parameters
/// of many sizes, one indexed at run time.
void mixed_parameters(std::int8_t byte, MixedParameters parameters, float half_way, double* out, int count);

/// out[b] = sum of in[b * 256 .. +256): shuffles, then shared memory.
void block_sums(const float* in, float* out, int blocks);
/// The same without the barrier between the write of the warps' sums and their use; the lines of both.
void racy_block_sums(const float* in, float* out, int blocks);
struct RacyLines {
  int write;
  int read;
};
RacyLines racy_lines();

enum class Transposed : std::uint8_t { as_wanted, wrongly };
/// c [16 x 8] = a [16 x 16] * b [16 x 8], all row-major, a and b of bits of f16 or bf16: cp.async, ldmatrix
/// (b is transposed on its way), mma. `wrongly` leaves the transposition out.
void tile_product_f16(Transposed transposed, const std::uint16_t* a, const std::uint16_t* b, float* c);
void tile_product_bf16(Transposed transposed, const std::uint16_t* a, const std::uint16_t* b, float* c);

/// out[8 * i ..]: exp, log, sin, cos, tanh, erf, x / 3 and pow(|x|, 1.5) of in[i].
void functions(const float* in, float* out, int count);
/// out[i] = sin(in[i]) in double; for large angles a function that nvcc does not inline.
void double_sine(const double* in, double* out, int count);

/// The same as in plain C++: a switch over op = 0..7 of integer arithmetic on a and b.
std::int64_t integer_operation(int op, std::int32_t a, std::int32_t b);
void integer_operations(const std::int32_t* a, const std::int32_t* b, std::int64_t* out, int count);

/// total[0] += in[i], largest[0] = max, for all i; `histogram` [16] counts in[i] % 16.
void atomics(const int* in, int count, int* total, int* largest, unsigned* histogram);

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
