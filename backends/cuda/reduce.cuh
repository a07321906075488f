// backends/cuda/reduce.cuh — sums and maxima over the threads of a warp or a block, in an order
// that the number of threads alone decides. Every thread of the group takes part and gets the
// result.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace lm::cuda {

inline constexpr unsigned kAllLanes = 0xFFFFFFFFu;
inline constexpr int kWarp = 32;

// n sums at once: one's steps don't wait for another's.
template <int n>
__device__ inline void warp_sums(float (&x)[n]) {
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
#pragma unroll
    for (int i = 0; i < n; ++i) x[i] += __shfl_xor_sync(kAllLanes, x[i], lanes);
  }
}
__device__ inline float warp_sum(float x) {
  float sums[1] = {x};
  warp_sums(sums);
  return sums[0];
}

// NaN is ignored: who must keep it looks for it.
__device__ inline float warp_max(float x) {
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, lanes));
  }
  return x;
}

// `parts` is shared memory of one float a warp; nobody may still be reading it. n_threads is a
// multiple of 32.
__device__ inline float block_sum(float x, float* parts, int thread, int n_threads) {
  x = warp_sum(x);
  if (n_threads == kWarp) return x;
  if (thread % kWarp == 0) parts[thread / kWarp] = x;
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < n_threads / kWarp; ++i) sum += parts[i];
  return sum;
}

__device__ inline float block_max(float x, float* parts, int thread, int n_threads) {
  x = warp_max(x);
  if (n_threads == kWarp) return x;
  if (thread % kWarp == 0) parts[thread / kWarp] = x;
  __syncthreads();
  for (int i = 0; i < n_threads / kWarp; ++i) x = fmaxf(x, parts[i]);
  return x;
}

// The sum of the lanes up to this one.
__device__ inline int running_sum(int x, int lane) {
  for (int lanes = 1; lanes < kWarp; lanes *= 2) {
    const int before = __shfl_up_sync(kAllLanes, x, unsigned(lanes));
    if (lane >= lanes) x += before;
  }
  return x;
}

}  // namespace lm::cuda
