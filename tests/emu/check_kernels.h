// Small kernels, each with a planted bug and as its correct twin, for the tests of the checks. Launchers:
// they queue work on the default stream.
#pragma once

#include <cuda_runtime.h>

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

enum class Twin { correct, planted };

/// Lines of the two accesses that race in previous_cell().
struct RacingLines {
  int write;
  int read;
};
RacingLines previous_cell_lines();

// --- Order within a block of 64 threads; `out` has 64 floats.
void previous_cell(Twin twin, float* out);  ///< planted: no __syncthreads between write and read
void next_round(Twin twin, float* out);     ///< planted: no __syncthreads before cells are reused
void common_flag(Twin twin, float* out);    ///< planted: all threads write one cell
void double_buffer(Twin twin, const float* in, float* out);  ///< in [8 * 256]; planted: no trailing barrier
void copy_without_wait(Twin twin, const float* in, float* out);  ///< in [256]; planted: no wait for cp.async
void copy_without_barrier(Twin twin, const float* in, float* out);  ///< planted: reads another thread's copy
void warp_sync(Twin twin, float* out);       ///< planted: relies on __syncwarp for another warp's cell
void half_warp_sync(Twin twin, float* out);  ///< planted: relies on the other half's __syncwarp
void shuffle_order(Twin twin, float* out);   ///< planted: relies on a shuffle to order cells
void shared_count(Twin twin, float* out);    ///< planted: adds to a counter that may not be zeroed yet
void narrow_cells(float* out);               ///< neighbours write bytes and halves of the same words

// --- Collectives.
void divergent_barrier(Twin twin, float* out);
void mismatched_collective(Twin twin, float* out);

// --- Addresses. Blocks of 64 threads.
void shared_bounds(Twin twin, float* out);               ///< planted: one cell too far
void fill(float* out, int count);                        ///< one block per 64 of count
void fill_wide(float* out);                              ///< 16-byte stores at out + 4 * i
void read_doubles(const float* in, float* out);          ///< 8-byte loads at in + 2 * i
void copy_rows(const float* in, float* out, int count);  ///< whole structs of 20 floats

// --- Written or not.
void unwritten_cells(Twin twin, float* out);
void copy(const float* in, float* out, int count);

// --- Blocks of one launch: 4 blocks of 64 threads.
void block_rows(Twin twin, float* out);       ///< out [256]; planted: every block writes the first row
void neighbour_block(Twin twin, float* out);  ///< out [256]; planted: reads what another block writes
void sum(Twin twin, float* total);            ///< planted: reads the total that others still add to

// --- Access patterns: one warp.
void read_stride(const float* in, float* out, int stride);
void read_same(const float* in, float* out);
void column_access(float* out, int pitch);  ///< pitch 32 or 33
void wide_rows(float* out);                 ///< 16-byte accesses of shared memory, one after the other
void wide_column(float* out);               ///< the same at a pitch of 64 bytes
void copy_rows_async(const float* in, float* out);  ///< cp.async of 32 x 16 bytes

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
