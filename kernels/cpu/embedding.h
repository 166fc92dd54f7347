// Rows taken out of a table: token embeddings from a packed weight, activations from a tensor. Stateless.
#pragma once

#include <span>

#include "kernels/cpu/packed_matrix.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace pagelab::kernels::cpu {

/// out[t] = table[ids[t]], or += with `accumulate`. out [ids.size(), table.cols()].
/// Requires 0 <= ids[t] < table.rows().
void embedding(ThreadPool& pool, const PackedMatrix& table, std::span<const std::int32_t> ids, Tensor out,
               bool accumulate);
/// out[i] = x[rows[i]].
void gather_rows(ThreadPool& pool, Tensor x, std::span<const std::int32_t> rows, Tensor out);

}  // namespace pagelab::kernels::cpu
