// backends/cuda/gemm_output.cuh — the end of a GEMM: an accumulator becomes a number of the output.
#pragma once
#include "backends/cuda/gemm_kernel.h"

namespace lm::cuda {

// The output that holds `column` of the launch.
__device__ inline GemmOutput output_of(const GemmParams& p, int column) {
  GemmOutput found = p.outputs[0];
  for (int i = 1; i < kMostOutputs; ++i) {
    if (i < p.n_outputs && column >= p.outputs[size_t(i)].first_column) {
      found = p.outputs[size_t(i)];
    }
  }
  return found;
}

// Columns `column` and `column` + 1 (even) of an output's row, whose numbers are sum * unscale.
__device__ inline void store_pair(const GemmOutput& output, int64_t row, int column, float unscale,
                                  float sum0, float sum1) {
  if (column >= output.n_columns) return;
  float* to = output.out + row * output.stride + column;
  const bool two = column + 1 < output.n_columns;
  float v0 = sum0 * unscale, v1 = sum1 * unscale;
  if (output.bias != nullptr) {
    v0 += output.bias[column];
    if (two) v1 += output.bias[column + 1];
  }
  if (two && output.paired) {
    float2* pair = reinterpret_cast<float2*>(to);
    float2 before = {0, 0};
    if (output.accumulate) before = *pair;
    *pair = {before.x + v0, before.y + v1};
    return;
  }
  to[0] = (output.accumulate ? to[0] : 0.0f) + v0;
  if (two) to[1] = (output.accumulate ? to[1] : 0.0f) + v1;
}

}  // namespace lm::cuda
