// What the code of a kernel uses of CUDA beyond C++, for kernels compiled as C++: thread indices, barriers,
// warp collectives, atomics, some functions; and below them, in pagelab::emu, the memory operations that
// primitives.cuh is made of. Only included by code that is compiled against the stand-in headers.
//
// Functions whose place in the source matters take it as default arguments; their bodies are in the library,
// which is compiled without instrumentation, and tell the observer themselves of the memory that they touch.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/emu/simt.h"

// Constants, as the compiler may take them to be while a thread runs: the machine writes them at each switch.
extern const uint3 threadIdx __asm__("pagelab_emu_thread_index");
extern const uint3 blockIdx __asm__("pagelab_emu_block_index");
extern const dim3 blockDim __asm__("pagelab_emu_block_size");
extern const dim3 gridDim __asm__("pagelab_emu_grid_size");
constexpr int warpSize = 32;

namespace pagelab::emu {

/// `site()` as a default argument is where the call is written.
constexpr Site site(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return {file, line};
}

enum class Shuffle : std::uint8_t { index, up, down, exclusive_or };
/// `bits` of the lane that `mode` and `operand` name within segments of `width` lanes (PTX ISA, shfl.sync);
/// all ones, a NaN, if that lane takes no part.
std::uint64_t shuffle(std::uint32_t mask, std::uint64_t bits, std::uint32_t operand, int width, Shuffle mode,
                      Site site);
/// Lanes of the mask whose `predicate` is true.
std::uint32_t ballot(std::uint32_t mask, bool predicate, const char* kind, Site site);

template <class T>
T shuffle(std::uint32_t mask, T value, std::uint32_t operand, int width, Shuffle mode, Site site) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  std::uint64_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  bits = shuffle(mask, bits, operand, width, mode, site);
  __builtin_memcpy(&value, &bits, sizeof(T));
  return value;
}

/// 16 bytes at a multiple of 16; throws illegal_address for others.
uint4 load16(const void* address, Site site);
void store16(void* address, uint4 value, Site site);
/// cp.async.cg of 16 bytes, or of none and 16 zeros.
void copy16(void* shared, const void* global, bool valid, Site site);
/// ldmatrix.x4, of the transposed matrices or not (tensor_core.h).
void load_matrices(std::uint32_t (&fragment)[4], bool transposed, const void* row, Site site);
/// The block's shared memory, of which `bytes` are wanted at a multiple of `alignment`.
void* shared_memory(std::size_t bytes, std::size_t alignment, Site site);

}  // namespace pagelab::emu

// NOLINTBEGIN(bugprone-reserved-identifier): the names are CUDA's.

inline void __syncthreads(pagelab::emu::Site site = pagelab::emu::site()) {
  pagelab::emu::block_barrier(site);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, pagelab::emu::Site site = pagelab::emu::site()) {
  pagelab::emu::warp_barrier(mask, site);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32,
              pagelab::emu::Site site = pagelab::emu::site()) {
  return pagelab::emu::shuffle(mask, value, static_cast<std::uint32_t>(lane), width,
                               pagelab::emu::Shuffle::index, site);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 pagelab::emu::Site site = pagelab::emu::site()) {
  return pagelab::emu::shuffle(mask, value, delta, width, pagelab::emu::Shuffle::up, site);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   pagelab::emu::Site site = pagelab::emu::site()) {
  return pagelab::emu::shuffle(mask, value, delta, width, pagelab::emu::Shuffle::down, site);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  pagelab::emu::Site site = pagelab::emu::site()) {
  return pagelab::emu::shuffle(mask, value, static_cast<std::uint32_t>(lane_mask), width,
                               pagelab::emu::Shuffle::exclusive_or, site);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, pagelab::emu::Site site = pagelab::emu::site()) {
  return pagelab::emu::ballot(mask, predicate != 0, "ballot", site);
}
inline int __any_sync(unsigned mask, int predicate, pagelab::emu::Site site = pagelab::emu::site()) {
  return pagelab::emu::ballot(mask, predicate != 0, "any", site) != 0;
}
inline int __all_sync(unsigned mask, int predicate, pagelab::emu::Site site = pagelab::emu::site()) {
  return pagelab::emu::ballot(mask, predicate == 0, "all", site) == 0;
}

/// Each returns the value before.
int atomicAdd(int* address, int value, pagelab::emu::Site site = pagelab::emu::site());
unsigned atomicAdd(unsigned* address, unsigned value, pagelab::emu::Site site = pagelab::emu::site());
float atomicAdd(float* address, float value, pagelab::emu::Site site = pagelab::emu::site());
unsigned long long atomicAdd(unsigned long long* address, unsigned long long value,
                             pagelab::emu::Site site = pagelab::emu::site());
int atomicMax(int* address, int value, pagelab::emu::Site site = pagelab::emu::site());
unsigned atomicMax(unsigned* address, unsigned value, pagelab::emu::Site site = pagelab::emu::site());
int atomicMin(int* address, int value, pagelab::emu::Site site = pagelab::emu::site());
unsigned atomicMin(unsigned* address, unsigned value, pagelab::emu::Site site = pagelab::emu::site());
int atomicExch(int* address, int value, pagelab::emu::Site site = pagelab::emu::site());
unsigned atomicExch(unsigned* address, unsigned value, pagelab::emu::Site site = pagelab::emu::site());
int atomicCAS(int* address, int compare, int value, pagelab::emu::Site site = pagelab::emu::site());
unsigned atomicCAS(unsigned* address, unsigned compare, unsigned value,
                   pagelab::emu::Site site = pagelab::emu::site());

inline float rsqrtf(float x) {
  return 1.0f / std::sqrt(x);
}
inline int __float_as_int(float x) {
  return __builtin_bit_cast(int, x);
}
inline unsigned __float_as_uint(float x) {
  return __builtin_bit_cast(unsigned, x);
}
inline float __int_as_float(int x) {
  return __builtin_bit_cast(float, x);
}
inline float __uint_as_float(unsigned x) {
  return __builtin_bit_cast(float, x);
}
inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
inline int __clz(int x) {
  return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x));
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline float __fdividef(float x, float y) {
  return x / y;
}

constexpr int min(int a, int b) {
  return b < a ? b : a;
}
constexpr int max(int a, int b) {
  return a < b ? b : a;
}
constexpr unsigned min(unsigned a, unsigned b) {
  return b < a ? b : a;
}
constexpr unsigned max(unsigned a, unsigned b) {
  return a < b ? b : a;
}
constexpr long long min(long long a, long long b) {
  return b < a ? b : a;
}
constexpr long long max(long long a, long long b) {
  return a < b ? b : a;
}
constexpr long min(long a, long b) {
  return b < a ? b : a;
}
constexpr long max(long a, long b) {
  return a < b ? b : a;
}
inline float min(float a, float b) {
  return std::fmin(a, b);
}
inline float max(float a, float b) {
  return std::fmax(a, b);
}

// The C library declares functions of these names.
#define __expf(x) expf(x)
#define __logf(x) logf(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)

// NOLINTEND(bugprone-reserved-identifier)
