// backends/cuda/attention.cuh — device functions of the attention kernels: which keys a row sees,
// where they lie, and how parts of a softmax are merged.
#pragma once
#include "backends/cuda/attention.h"
#include "backends/cuda/ops.h"

namespace lm::cuda {

// Keys [begin, end) in absolute positions.
struct KeyRange {
  int begin, end;
};

// The sequence of a row; -1: padding. Of sequences without rows none is found.
__device__ inline int sequence_of(const AttentionParams& p, int row) {
  if (row >= p.q_start[p.n_seqs]) return -1;
  int low = 0, high = p.n_seqs;  // q_start[low] <= row < q_start[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (p.q_start[middle] <= row) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return p.q_start[low] <= row ? low : -1;
}

// The keys that a row at a position sees.
__device__ inline KeyRange keys_at(const AttentionParams& p, int position) {
  return {p.window > 0 ? max(0, position - p.window + 1) : 0, position + 1};
}

inline constexpr float kLog2E = 1.4426950408889634f;

// A sum of products becomes a score, in powers of two.
__device__ inline float scaled(const AttentionParams& p, float dot) {
  if (p.softcap > 0) return kLog2E * p.softcap * tanhf(dot * p.scale / p.softcap);
  return dot * (p.scale * kLog2E);
}

// What reducing some keys leaves, besides the sum of weighted values: m, the largest score, and l,
// the sum of the weights 2^(s - m). Merging two multiplies their sums, so that m is the larger; a
// part without keys (l = 0) changes nothing.
struct Merge {
  float2 state;
  float weight, part_weight;
  __device__ float of(float sum, float part) const {
    return part_weight == 0 ? sum : fmaf(sum, weight, part * part_weight);
  }
};

__device__ inline Merge merge_of(float2 state, float2 part) {
  if (part.y == 0) return {state, 1.0f, 0.0f};
  const float m = fmaxf(state.x, part.x);
  const float weight = state.x == m ? 1.0f : exp2f(state.x - m);
  const float part_weight = part.x == m ? 1.0f : exp2f(part.x - m);
  return {make_float2(m, fmaf(state.y, weight, part.y * part_weight)), weight, part_weight};
}

// What the sum of weighted values is multiplied by: 1 / l, with the sink as one more term of l.
__device__ inline float final_factor(const AttentionParams& p, int head, float2 state) {
  if (p.sinks == nullptr) return state.y == 0 ? 0.0f : 1.0f / state.y;
  const Merge merge = merge_of(state, make_float2(p.sinks[head] * kLog2E, 1));
  return merge.weight / merge.state.y;
}

}  // namespace lm::cuda
