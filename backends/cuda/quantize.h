// backends/cuda/quantize.h — activations on their way to the integer kernels.
#pragma once
#include "backends/cuda/ops.h"
#include "backends/cuda/quantized_rows.cuh"

namespace lm::cuda {

// Rows of x, to be normed first where `norm` is given (and their normed form kept).
struct InputRows {
  const float* x = nullptr;
  int64_t stride = 0;
  int k = 0;
  bool aligned = false;  // rows begin at multiples of 16 bytes
  const float* norm = nullptr;
  float eps = 0;
  float* normed = nullptr;
  int64_t normed_stride = 0;
  int norm_threads = 0;
};
InputRows input_of(Tensor x);
InputRows input_of(const RmsNorm& norm);

// Row i of the quantized ones is row places[i] / divisor of x; null: row i.
struct RowOrder {
  const int32_t* places = nullptr;
  int divisor = 1;
};

void quantize_rows(const Context& context, const float* x, int64_t x_stride, int64_t k,
                   const QuantizedRows& rows, const RowOrder& order = {});
void norm_quantize_rows(const Context& context, const InputRows& in, const QuantizedRows& rows);

// How many threads an RMSNorm's row gets: of its length alone, so that its bits don't depend on the
// kernel or on the other rows.
constexpr int kNormThreads = 1024;
constexpr int kMostWarpNormCols = 512;  // a norm of so many numbers is summed by one warp
constexpr size_t kNormShared = kNormThreads / 32 * sizeof(float);
constexpr int norm_threads(int64_t cols) {
  return cols <= kMostWarpNormCols ? 32 : cols <= 2048 ? 256 : kNormThreads;
}

}  // namespace lm::cuda
