// Everything a kernel needs that C++ cannot say: 16-byte loads, asynchronous copies to shared memory
// (cp.async), tensor-core fragments (ldmatrix, mma.sync m16n8k16), 16-bit floating point, fast exponentials.
// All inline assembly of the project is in this file; each function has a second body for compilers other
// than nvcc, which speaks to the SIMT machine (kernels/emu). Kernels include this header and no other of
// CUDA's. sm_80 features only.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#ifdef __CUDACC__
#define PAGELAB_SITE
#else
#include "kernels/emu/device.h"
#include "kernels/emu/float16.h"
#include "kernels/emu/tensor_core.h"
/// Last parameter of what touches memory or meets other lanes: where the call is written, for reports.
#define PAGELAB_SITE , emu::Site site = emu::site()
#endif

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

// --- Numbers. Storage only: arithmetic is in float.

struct f16 {
  std::uint16_t bits;
};
struct bf16 {
  std::uint16_t bits;
};

/// Exact.
__device__ float to_float(float value);
__device__ float to_float(f16 value);
__device__ float to_float(bf16 value);
/// Round to nearest even; overflow to infinity, NaN stays NaN.
template <class T>
__device__ T from_float(float value);
/// Two numbers of T (f16, bf16) in one register, `low` in the low half.
template <class T>
__device__ std::uint32_t pack2(float low, float high);
template <class T>
__device__ float2 unpack2(std::uint32_t pair);

/// 2^x, to a few ulp; 0 for x = -infinity.
__device__ float exp2_fast(float x);

// --- Memory.

/// 16 bytes from global memory, or from shared; the address is a multiple of 16.
__device__ uint4 load16(const void* address PAGELAB_SITE);
/// The same for global memory that no thread writes during the launch and that is read once (KV): past L1.
__device__ uint4 load16_streaming(const void* address PAGELAB_SITE);
__device__ void store16(void* address, uint4 value PAGELAB_SITE);

/// The dynamic shared memory of the block as one struct; the launch passes sizeof(T) bytes. A kernel has one.
/// The bytes of T start out undefined.
template <class T>
__device__ __forceinline__ T& shared_memory();

/// Starts copying 16 bytes from global to shared memory, both 16-byte aligned; with `valid` false nothing is
/// read and zeros arrive. Arrives after async_wait for its group, visible to other threads after a barrier.
__device__ void async_copy16(void* shared, const void* global, bool valid = true PAGELAB_SITE);
/// Closes the calling thread's group of copies.
__device__ void async_commit();
/// Waits until at most `Pending` of the calling thread's newest groups are still on their way.
template <int Pending>
__device__ __forceinline__ void async_wait();

// --- Tensor cores (PTX ISA: ldmatrix, mma.m16n8k16). Fragments by lane: group = lane / 4, pair = lane % 4.
//   A [16 x 16]: a[0] rows group, cols 2*pair..+1; a[1] rows group + 8; a[2] rows group, cols + 8; a[3] both.
//   B [16 x 8]:  b[0] col group, rows 2*pair..+1; b[1] rows + 8.      C [16 x 8]: c[0..1] row group, cols
//   2*pair..+1; c[2..3] row group + 8.

/// Four 8 x 8 matrices of 16-bit elements from shared memory: lane 8 * i + r gives the address of row r of
/// matrix i (16 bytes, 16-byte aligned); each lane gets of matrix i the elements (lane / 4, 2 * (lane %
/// 4)..+1) in r[i].
__device__ void load_matrices(std::uint32_t (&r)[4], const void* row PAGELAB_SITE);
/// The same of the transposed matrices.
__device__ void load_matrices_transposed(std::uint32_t (&r)[4], const void* row PAGELAB_SITE);
/// c += a * b in float, elements of T (f16, bf16).
template <class T>
__device__ void multiply_add(float (&c)[4], const std::uint32_t (&a)[4],
                             const std::uint32_t (&b)[2] PAGELAB_SITE);

// --- Bodies.

template <>
__device__ __forceinline__ float from_float<float>(float value) {
  return value;
}
__device__ __forceinline__ float to_float(float value) {
  return value;
}

#ifdef __CUDACC__

__device__ __forceinline__ float to_float(f16 value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}
__device__ __forceinline__ float to_float(bf16 value) {
  return __uint_as_float(static_cast<std::uint32_t>(value.bits) << 16);
}
template <>
__device__ __forceinline__ f16 from_float<f16>(float value) {
  f16 result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float value) {
  bf16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
}
template <>
__device__ __forceinline__ std::uint32_t pack2<f16>(float low, float high) {
  std::uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
template <>
__device__ __forceinline__ std::uint32_t pack2<bf16>(float low, float high) {
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

__device__ __forceinline__ float exp2_fast(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

__device__ __forceinline__ uint4 load16(const void* address) {
  return *static_cast<const uint4*>(address);
}
__device__ __forceinline__ uint4 load16_streaming(const void* address) {
  uint4 value;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
      : "l"(__cvta_generic_to_global(address)));
  return value;
}
__device__ __forceinline__ void store16(void* address, uint4 value) {
  *static_cast<uint4*>(address) = value;
}

template <class T>
__device__ T& shared_memory() {
  extern __shared__ __align__(128) unsigned char block_shared_memory[];
  static_assert(alignof(T) <= 128);
  return *reinterpret_cast<T*>(block_shared_memory);
}

__device__ __forceinline__ std::uint32_t shared_address(const void* address) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(address));
}
__device__ __forceinline__ void async_copy16(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(shared_address(shared)), "l"(__cvta_generic_to_global(global)), "r"(valid ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void async_commit() {
  asm volatile("cp.async.commit_group;" : : : "memory");
}
template <int Pending>
__device__ void async_wait() {
  asm volatile("cp.async.wait_group %0;" : : "n"(Pending) : "memory");
}

__device__ __forceinline__ void load_matrices(std::uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(std::uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
template <>
__device__ __forceinline__ void multiply_add<f16>(float (&c)[4], const std::uint32_t (&a)[4],
                                                  const std::uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <>
__device__ __forceinline__ void multiply_add<bf16>(float (&c)[4], const std::uint32_t (&a)[4],
                                                   const std::uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#else  // the SIMT machine

__forceinline__ float to_float(f16 value) {
  return emu::f16_to_float(value.bits);
}
__forceinline__ float to_float(bf16 value) {
  return emu::bf16_to_float(value.bits);
}
template <>
__forceinline__ f16 from_float<f16>(float value) {
  return {emu::float_to_f16(value)};
}
template <>
__forceinline__ bf16 from_float<bf16>(float value) {
  return {emu::float_to_bf16(value)};
}
template <>
__forceinline__ std::uint32_t pack2<f16>(float low, float high) {
  return emu::float_to_f16(low) | std::uint32_t{emu::float_to_f16(high)} << 16;
}
template <>
__forceinline__ std::uint32_t pack2<bf16>(float low, float high) {
  return emu::float_to_bf16(low) | std::uint32_t{emu::float_to_bf16(high)} << 16;
}

__forceinline__ float exp2_fast(float x) {
  return exp2f(x);
}

__forceinline__ uint4 load16(const void* address, emu::Site site) {
  return emu::load16(address, site);
}
__forceinline__ uint4 load16_streaming(const void* address, emu::Site site) {
  return emu::load16(address, site);
}
__forceinline__ void store16(void* address, uint4 value, emu::Site site) {
  emu::store16(address, value, site);
}

template <class T>
T& shared_memory() {
  return *static_cast<T*>(emu::shared_memory(sizeof(T), alignof(T), emu::site()));
}

__forceinline__ void async_copy16(void* shared, const void* global, bool valid, emu::Site site) {
  emu::copy16(shared, global, valid, site);
}
__forceinline__ void async_commit() {
  emu::async_commit();
}
template <int Pending>
void async_wait() {
  emu::async_wait(Pending);
}

__forceinline__ void load_matrices(std::uint32_t (&r)[4], const void* row, emu::Site site) {
  emu::load_matrices(r, false, row, site);
}
__forceinline__ void load_matrices_transposed(std::uint32_t (&r)[4], const void* row, emu::Site site) {
  emu::load_matrices(r, true, row, site);
}
template <>
__forceinline__ void multiply_add<f16>(float (&c)[4], const std::uint32_t (&a)[4],
                                       const std::uint32_t (&b)[2], emu::Site site) {
  emu::multiply_add(c, a, b, emu::MatrixElement::f16, site);
}
template <>
__forceinline__ void multiply_add<bf16>(float (&c)[4], const std::uint32_t (&a)[4],
                                        const std::uint32_t (&b)[2], emu::Site site) {
  emu::multiply_add(c, a, b, emu::MatrixElement::bf16, site);
}

#endif

template <>
__device__ __forceinline__ float2 unpack2<f16>(std::uint32_t pair) {
  return make_float2(to_float(f16{static_cast<std::uint16_t>(pair)}),
                     to_float(f16{static_cast<std::uint16_t>(pair >> 16)}));
}
template <>
__device__ __forceinline__ float2 unpack2<bf16>(std::uint32_t pair) {
  return make_float2(to_float(bf16{static_cast<std::uint16_t>(pair)}),
                     to_float(bf16{static_cast<std::uint16_t>(pair >> 16)}));
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
