// backends/cuda/quantize.h — launches of the kernels that quantize activations.
#pragma once
#include "backends/cuda/ops.h"
#include "backends/cuda/quantized_rows.cuh"

namespace lm::cuda {

// Row i of the quantized ones is row places[i] / divisor of x; null: row i.
struct RowOrder {
  const int32_t* places = nullptr;
  int divisor = 1;
};

void quantize_rows(const Context& context, const float* x, int64_t x_stride, int64_t k,
                   const QuantizedRows& rows, const RowOrder& order = {});
// op.out gets the normed rows too.
void norm_quantize_rows(const Context& context, const RmsNorm& op, const QuantizedRows& rows);

// How many threads an RMSNorm's row gets: of its length alone, so that its bits don't depend on the
// kernel or on the other rows.
inline int norm_threads(int64_t cols) {
  return cols <= 512 ? 32 : cols <= 2048 ? 256 : 1024;
}

}  // namespace lm::cuda
