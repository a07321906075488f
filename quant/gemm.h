// quant/gemm.h — c += sign · a b on f32 matrices, for the methods that need real linear algebra.
// Every number of c is summed in the order of k, in runs of a fixed length, whatever the processor
// or the number of threads: the same bits everywhere.
#pragma once
#include <cstdint>

#include "engine/core/thread_pool.h"

namespace lm {

// Element (i, j) is data[i * row_step + j * col_step].
struct StridedMatrix {
  const float* data;
  int64_t row_step, col_step;
};

struct Product {
  StridedMatrix a, b;  // [m, k], [k, n]
  int64_t m, n, k;
  float* c;  // [m, n], rows contiguous; shares no element that is written with a and b
  int64_t c_row_step;
  float sign = 1;
  bool upper_only = false;  // only elements with i <= j are wanted (others may change too)
};

void add_product(const Product& product, ThreadPool& pool);

}  // namespace lm
