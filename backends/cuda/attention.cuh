// backends/cuda/attention.cuh — device functions of the attention kernels: which keys a row sees,
// where they lie, and how parts of a softmax are merged.
#pragma once
#include "backends/cuda/attention.h"

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

__device__ inline KeyRange keys_of(const AttentionParams& p, int sequence, int row) {
  const int position = p.positions[row];
  const int begin = p.window > 0 ? max(0, position - p.window + 1) : 0;
  return {begin, min(position + 1, p.kv_len[sequence])};
}

__device__ inline float capped(const AttentionParams& p, float score) {
  return p.softcap > 0 ? p.softcap * tanhf(score / p.softcap) : score;
}

// Merging a part (m, l, o) into a state: both are multiplied, and m becomes the larger.
struct Merge {
  float m, state_weight, part_weight;
};
__device__ inline Merge merge_of(float state_m, float part_m) {
  const float m = fmaxf(state_m, part_m);
  return {m, state_m == m ? 1.0f : expf(state_m - m), part_m == m ? 1.0f : expf(part_m - m)};
}

// What the sum of weighted values is multiplied by: 1 / l, with the sink as one more term of l.
__device__ inline float final_factor(const AttentionParams& p, int head, float m, float l) {
  if (p.sinks == nullptr) return l == 0 ? 0.0f : 1.0f / l;
  const Merge merge = merge_of(m, p.sinks[head]);
  return merge.state_weight / fmaf(l, merge.state_weight, merge.part_weight);
}

}  // namespace lm::cuda
