// Gemm: out = act(x W^T + bias), or out += x W^T + bias, for packed weights and any number of rows.
//
// Owns the scratch memory of a product (x in the order the kernels read it, partial sums) and borrows the
// thread pool; one product at a time. After a product as large as any to come it allocates nothing.
//
// Each element of out is one f32 accumulator fed in the order of k; bias, activation and residual follow in
// that order. So a row of out depends, bit for bit, on its row of x alone: not on the other rows, on the
// number of threads or on how the product is cut up.
//
// Cutting up, after Goto and van de Geijn (ACM TOMS 34(3), 2008): an item of work is a block of rows by a run
// of panels. Within it k goes in chunks for which a panel's weights stay in the L1 cache and the rows of x in
// L2; partial sums wait in scratch between chunks. Weights are read from memory once per block of rows and
// fetched ahead of their use.
#pragma once

#include <vector>

#include "kernels/cpu/huge_memory.h"
#include "kernels/cpu/packed_matrix.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/ops.h"

namespace pagelab::kernels::cpu {

struct GemmEpilogue {
  const float* bias = nullptr;  ///< [w.rows()] or null
  Activation activation = Activation::none;
  bool accumulate = false;  ///< add to out; the activation must then be none
};

class Gemm {
 public:
  explicit Gemm(ThreadPool& pool);

  /// x [M, w.cols()], out [M, w.rows()]. Throws std::bad_alloc.
  void run(Tensor x, const PackedMatrix& w, const GemmEpilogue& epilogue, Tensor out);

 private:
  struct Plan;
  struct Item;

  void pack(const Plan& plan);
  void run_item(const Plan& plan, const Item& item, float* sums) const;
  void accumulate_chunk(const Plan& plan, const Item& item, std::int64_t k, float* sums) const;
  void finish(const Plan& plan, const Item& item, const float* sums) const;

  ThreadPool& pool_;
  HugeMemory packed_x_;
  std::vector<HugeMemory> sums_;  ///< per worker
};

}  // namespace pagelab::kernels::cpu
