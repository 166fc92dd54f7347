// RowLayout: where the 16-byte chunks of rows of K or V lie in shared memory. Without padding and free of
// bank conflicts for everything that tensor-core kernels do with such rows. Owns nothing.
#pragma once

#include <numeric>

#include "kernels/cuda/primitives.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

/// Rows of 16-byte chunks in shared memory without padding. Chunks are permuted within a row so that the same
/// chunk of eight consecutive rows lies in eight different groups of four banks (ldmatrix and vector loads of
/// a column are free of conflicts), and eight consecutive chunks, even over the end of a row, still fill one
/// line of all banks (cp.async stores and loads of a row are, too). Rows are kChunks long; only gcd(kChunks,
/// 8) matters: rows that are 8 / gcd apart begin at the same bank, and those get different permutations.
template <class T, int kHeadSize>
struct RowLayout {
  static constexpr int kChunks = kHeadSize * static_cast<int>(sizeof(T)) / 16;
  static constexpr int kElements = 16 / static_cast<int>(sizeof(T));  ///< of a chunk
  static constexpr int kPeriod = std::gcd(kChunks, 8);

  /// Index of a chunk. Only the chunk's last bits are permuted, so that for constant distances between chunks
  /// the compiler finds constant distances between addresses.
  static __device__ int at(int row, int chunk) {
    return row * kChunks + (chunk & -kPeriod) + ((chunk & (kPeriod - 1)) ^ permutation(row));
  }

  /// The address of chunk 2 * pair + odd of the row that begins at `start`. With a constant `pair`, what
  /// depends on the lane takes kPeriod / 2 values only; the rest is an offset that loads carry as an
  /// immediate.
  static __device__ const uint4* at(const uint4* start, int row, int pair, int odd) {
    const int permuted = (2 * pair % kPeriod + odd) ^ permutation(row);
    return start + permuted + 2 * pair / kPeriod * kPeriod;
  }

 private:
  static __device__ int permutation(int row) {
    return static_cast<int>(static_cast<unsigned>(row) / (8 / kPeriod) % kPeriod);
  }
};

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
