// backends/cuda/input_rows.cuh — a block makes rows of f32, normed where asked for, into quantized
// ones: as a kernel of its own for many rows, at the beginning of the matrix kernels for few, whose
// blocks each do it for themselves rather than wait for one more kernel.
#pragma once
#include "backends/cuda/ptx.cuh"
#include "backends/cuda/quantize.h"
#include "backends/cuda/quantized_rows.cuh"
#include "backends/cuda/reduce.cuh"

namespace lm::cuda {

// The weights of the norm, which no kernel writes, come closer before x is there.
__device__ inline void prefetch_norm(const InputRows& in) {
  constexpr int kNumbers = 128 / int(sizeof(float));  // of a line of the cache
  const int at = (int(blockIdx.x) * int(blockDim.x) + int(threadIdx.x)) * kNumbers;
  if (in.norm != nullptr && at < in.k) prefetch(in.norm + at);
}

// Σ x² of a row, by any number of threads in the order in which rms_norm's `n_threads` sum it: a
// warp does the work of several of that kernel's warps, kAtOnce of them side by side, since loads
// and shuffles take long. parts: a float for each of those.
template <int kAtOnce>
__device__ inline float squares_of_row(const float* x, int k, int n_threads, float* parts) {
  const int step = int(blockDim.x);
#pragma unroll 1
  for (int v = int(threadIdx.x); v < n_threads; v += kAtOnce * step) {
    float squares[kAtOnce] = {};
#pragma unroll 4
    for (int i = v; i < k; i += n_threads) {
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        const int at = i + j * step;
        const float number = v + j * step < n_threads && at < k ? x[at] : 0.0f;
        squares[j] = fmaf(number, number, squares[j]);
      }
    }
    warp_sums(squares);
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      const int of = v + j * step;
      if (of % kWarp == 0 && of < n_threads) parts[of / kWarp] = squares[j];
    }
  }
  __syncthreads();
  if (n_threads == kWarp) return parts[0];
  float sum = 0;
  for (int i = 0; i < n_threads / kWarp; ++i) sum += parts[i];
  return sum;
}

// Four numbers of the row become those of its normed form, which is kept where asked for.
__device__ inline void norm_four(const InputRows& in, int row, int column, float factor,
                                 const float4& weights, bool writes_normed, float4& x) {
  x = {x.x * factor * weights.x, x.y * factor * weights.y, x.z * factor * weights.z,
       x.w * factor * weights.w};
  if (!writes_normed) return;
  const float values[4] = {x.x, x.y, x.z, x.w};
  float* to = in.normed + row * in.normed_stride + column;
  for (int i = 0; i < 4 && column + i < in.k; ++i) to[i] = values[i];
}

// The whole block; parts: kNormShared bytes. writes_normed: the normed row too. kAtOnce: chunks
// that a warp works on side by side.
template <int kAtOnce>
__device__ inline void quantize_row(const InputRows& in, const QuantizedRows& rows, int row,
                                    bool writes_normed, float* parts) {
  const float* x = in.x + row * in.stride;
  float factor = 1;
  if (in.norm != nullptr) {
    const float mean = squares_of_row<kAtOnce>(x, in.k, in.norm_threads, parts) / float(in.k);
    factor = 1.0f / sqrtf(mean + in.eps);
  }
  const int lane = int(threadIdx.x) % kWarp, n_warps = int(blockDim.x) / kWarp;
#pragma unroll 1
  for (int first = int(threadIdx.x) / kWarp; first < rows.n_chunks; first += kAtOnce * n_warps) {
    float4 numbers[kAtOnce], weights[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {  // behind the last chunk there are zeros
      const int column = (first + i * n_warps) * kChunkColumns + lane * 4;
      numbers[i] = load_four(x, column, in.k, in.aligned);
      if (in.norm != nullptr) weights[i] = load_four(in.norm, column, in.k, in.aligned);
    }
    if (in.norm != nullptr) {
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const int column = (first + i * n_warps) * kChunkColumns + lane * 4;
        norm_four(in, row, column, factor, weights[i], writes_normed, numbers[i]);
      }
    }
    quantize_chunks(numbers, rows, row, first, n_warps, lane);
  }
}

}  // namespace lm::cuda
