// backends/cuda/input_rows.cuh — a block makes rows of f32, normed where asked for, into quantized
// ones: as a kernel of its own for many rows, at the beginning of the matrix kernels for few, whose
// blocks each do it for themselves rather than wait for one more kernel.
#pragma once
#include "backends/cuda/quantize.h"
#include "backends/cuda/quantized_rows.cuh"
#include "backends/cuda/reduce.cuh"

namespace lm::cuda {

// Σ x² of a row, by any number of threads in the order in which rms_norm's `n_threads` sum it: a
// warp does the work of several of that kernel's warps. parts: a float for each of those.
__device__ inline float squares_of_row(const float* x, int k, int n_threads, float* parts) {
  for (int v = int(threadIdx.x); v < n_threads; v += int(blockDim.x)) {
    float squares = 0;
#pragma unroll 8
    for (int i = v; i < k; i += n_threads) squares = fmaf(x[i], x[i], squares);
    squares = warp_sum(squares);
    if (v % kWarp == 0) parts[v / kWarp] = squares;
  }
  __syncthreads();
  if (n_threads == kWarp) return parts[0];
  float sum = 0;
  for (int i = 0; i < n_threads / kWarp; ++i) sum += parts[i];
  return sum;
}

// The whole block; parts: kNormShared bytes. writes_normed: the normed row too.
__device__ inline void quantize_row(const InputRows& in, const QuantizedRows& rows, int row,
                                    bool writes_normed, float* parts) {
  const float* x = in.x + row * in.stride;
  float factor = 1;
  if (in.norm != nullptr) {
    const float mean = squares_of_row(x, in.k, in.norm_threads, parts) / float(in.k);
    factor = 1.0f / sqrtf(mean + in.eps);
  }
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  for (int chunk = warp; chunk < rows.n_chunks; chunk += int(blockDim.x) / kWarp) {
    const int column = chunk * kChunkColumns + lane * 4;
    float4 four = load_four(x, column, in.k, in.aligned);
    if (in.norm != nullptr) {
      const float4 weights = load_four(in.norm, column, in.k, in.aligned);
      four = {four.x * factor * weights.x, four.y * factor * weights.y, four.z * factor * weights.z,
              four.w * factor * weights.w};
      if (writes_normed) {
        const float values[4] = {four.x, four.y, four.z, four.w};
        float* to = in.normed + row * in.normed_stride + column;
        for (int i = 0; i < 4 && column + i < in.k; ++i) to[i] = values[i];
      }
    }
    quantize_chunk(four, rows, row, chunk, lane);
  }
}

}  // namespace lm::cuda
