// backends/cuda/attention_softmax.cuh — the online softmax between the two products, on the tensor
// cores' results as they lie in registers: lane 4g + t of a warp has, of queries g and g + 8, the
// scores of keys 8n + 2t and 8n + 2t + 1 (arXiv:2205.14135, arXiv:2307.08691).
#pragma once
#include "backends/cuda/attention.cuh"
#include "backends/cuda/attention_fragments.cuh"
#include "backends/cuda/reduce.cuh"

namespace lm::cuda {

// Of 16 queries and the keys that a warp has met: kTiles of 8 dimensions.
template <int kTiles>
struct SoftmaxState {
  float m[2] = {-INFINITY, -INFINITY};
  float l[2] = {0, 0};  // of this lane's keys alone
  float sums[kTiles][4] = {};
};

// Products of queries and keys become scores.
template <int kKeyTiles>
__device__ inline void scale_scores(const AttentionParams& p, float (&scores)[kKeyTiles][4]) {
#pragma unroll
  for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[n][i] = scaled(p, scores[n][i]);
  }
}

// The lane's keys of 8 * kKeyTiles from `key`; query i (g, g + 8) sees [seen[i].begin,
// seen[i].end).
template <int kKeyTiles>
__device__ inline void hide_keys(float (&scores)[kKeyTiles][4], int key,
                                 const KeyRange (&seen)[2]) {
  const int first = key + 2 * (int(threadIdx.x) % 4);
#pragma unroll
  for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int k = first + 8 * n + i % 2;
      if (k < seen[i / 2].begin || k >= seen[i / 2].end) scores[n][i] = -INFINITY;
    }
  }
}

// Scores become weights 2^(s - m) as halves, operands of the next product; what was summed before
// is brought to the new m.
template <int kKeyTiles, int kTiles>
__device__ inline void soften(const float (&scores)[kKeyTiles][4], SoftmaxState<kTiles>& state,
                              uint32_t (&weights)[kKeyTiles / 2][4]) {
  float factor[2];
#pragma unroll
  for (int q = 0; q < 2; ++q) {
    float m = -INFINITY;
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) m = fmaxf(m, fmaxf(scores[n][2 * q], scores[n][2 * q + 1]));
    m = fmaxf(m, __shfl_xor_sync(kAllLanes, m, 1));
    m = fmaxf(m, __shfl_xor_sync(kAllLanes, m, 2));
    m = fmaxf(m, state.m[q]);
    factor[q] = state.m[q] == m ? 1.0f : exp2f(state.m[q] - m);
    state.m[q] = m;
    const float base = m == -INFINITY ? 0.0f : m;  // no keys yet: all weights are 0
    float sum = 0;
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) {
      const float a = exp2f(scores[n][2 * q] - base), b = exp2f(scores[n][2 * q + 1] - base);
      sum += a + b;
      weights[n / 2][n % 2 * 2 + q] = bits_of(__floats2half2_rn(a, b));
    }
    state.l[q] = fmaf(state.l[q], factor[q], sum);
  }
  if (__any_sync(kAllLanes, factor[0] != 1.0f || factor[1] != 1.0f)) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) state.sums[n][i] *= factor[i / 2];
    }
  }
}

// l over all lanes that share query g + 8q.
template <int kTiles>
__device__ inline float whole_l(const SoftmaxState<kTiles>& state, int q) {
  float l = state.l[q];
  l += __shfl_xor_sync(kAllLanes, l, 1);
  return l + __shfl_xor_sync(kAllLanes, l, 2);
}

}  // namespace lm::cuda
