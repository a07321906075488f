// backends/cuda/quantize.h — launches of the kernels that quantize activations.
#pragma once
#include "backends/cuda/ops.h"
#include "backends/cuda/quantized_rows.cuh"

namespace lm::cuda {

void quantize_rows(const Context& context, Tensor x, const QuantizedRows& rows);
// op.out gets the normed rows too.
void norm_quantize_rows(const Context& context, const RmsNorm& op, const QuantizedRows& rows);

// How many threads an RMSNorm's row gets: of its length alone, so that its bits don't depend on the
// kernel or on the other rows.
inline int norm_threads(int64_t cols) {
  return cols <= 512 ? 32 : cols <= 2048 ? 256 : 1024;
}

}  // namespace lm::cuda
