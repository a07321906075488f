// backends/cuda/attention_merge.cuh — the parts of a tile's keys become one, in order: in the block
// that finishes the last of them, so that no second kernel has to start and to wait for all tiles.
// Who that is, tickets tell: "threadFenceReduction" of NVIDIA's samples has the rule.
#pragma once
#include "backends/cuda/attention_plan.cuh"
#include "backends/cuda/reduce.cuh"

namespace lm::cuda {

// What merging a part does, found by a warp for 32 parts at once: the largest score up to each is
// a running maximum, so that of the merges only two products are left to be made one by one.
struct MergeStep {
  float weight, part_weight;  // of what came before, of the part (see Merge)
  float l;                    // the part's
};
using MergeSteps = MergeStep[kWarp];  // of a warp, in shared memory

// The steps of n parts, n <= kWarp, behind others whose largest score is m; returns the largest
// with theirs.
__device__ inline float plan_merges(const float2* states, int n, float m, MergeSteps& steps) {
  const int lane = int(threadIdx.x) % kWarp;
  const float2 part = lane < n ? __ldcg(states + lane) : make_float2(-INFINITY, 0);
  const bool has_keys = part.y != 0;
  float with = has_keys ? part.x : -INFINITY;  // the largest up to this part
  for (int lanes = 1; lanes < kWarp; lanes *= 2) {
    const float other = __shfl_up_sync(kAllLanes, with, unsigned(lanes));
    if (lane >= lanes) with = fmaxf(other, with);
  }
  float before = __shfl_up_sync(kAllLanes, with, 1u);
  if (lane == 0) before = -INFINITY;
  const Merge merge =
      merge_of(make_float2(fmaxf(m, before), 0), has_keys ? part : make_float2(0, 0));
  __syncwarp();  // the steps before have been made
  steps[lane] = {merge.weight, merge.part_weight, part.y};
  __syncwarp();
  return fmaxf(m, __shfl_sync(kAllLanes, with, kWarp - 1));
}

// Merges the parts of a query, of kDims * kWarp dimensions of it, and writes them out. A warp.
// kAhead: parts whose sums are on their way at once.
template <int kAhead, int kDims>
__device__ inline void merge_query(const AttentionParams& p, const PartMemory& memory,
                                   const Item& item, int query, int first_dim, MergeSteps& steps) {
  static_assert(kWarp % kAhead == 0);
  const int head_dim = p.k.head_dim, n_parts = item.plan.n_parts;
  const int row = item.row(query, p.group), head = item.head(query, p.group);
  const int64_t slot = slot_of(p, item.plan, row, head, item.plan.first_part);
  const int first = first_dim + int(threadIdx.x) % kWarp;
  float2 state = make_float2(-INFINITY, 0);
  float totals[kDims] = {};
#pragma unroll 1
  for (int part = 0; part < n_parts; part += kAhead) {
    float ahead[kAhead][kDims] = {};
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const float* sums = memory.sums + (slot + part + i) * head_dim;
#pragma unroll
      for (int j = 0; j < kDims; ++j) {
        const int d = first + kWarp * j;
        if (part + i < n_parts && d < head_dim) ahead[i][j] = __ldcg(sums + d);
      }
    }
    if (part % kWarp == 0) {
      state.x =
          plan_merges(memory.states + slot + part, min(kWarp, n_parts - part), state.x, steps);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (part + i >= n_parts) continue;
      const MergeStep step = steps[(part + i) % kWarp];
#pragma unroll
      for (int j = 0; j < kDims; ++j) {
        if (step.part_weight == 0) continue;
        totals[j] = fmaf(totals[j], step.weight, ahead[i][j] * step.part_weight);
      }
      state.y = fmaf(state.y, step.weight, step.l * step.part_weight);
    }
  }
  const float factor = final_factor(p, head, state);
  float* out = out_of(p, item.plan, row, head);
#pragma unroll
  for (int j = 0; j < kDims; ++j) {
    if (first + kWarp * j < head_dim) out[first + kWarp * j] = totals[j] * factor;
  }
}

// Whether the part that this block has written is the last of its tile to be finished; then the
// block sees all of them. The whole block; is_last: shared memory. The ticket is 0 again behind the
// last part, for the next kernel: kernels run whole or not at all.
__device__ inline bool finishes_tile(const AttentionParams& p, const PartMemory& memory,
                                     const Item& item, bool& is_last) {
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    const unsigned last = unsigned(item.plan.n_parts - 1);
    is_last = atomicInc(memory.tickets + ticket_of(p, item), last) == last;
  }
  __syncthreads();
  if (is_last) __threadfence();
  return is_last;
}

// Merges the queries of a tile whose parts are all there: a warp takes a query, or kDims * kWarp
// dimensions of one. steps: of every warp.
template <int kAhead, int kDims>
__device__ inline void merge_tile(const AttentionParams& p, const PartMemory& memory,
                                  const Item& item, MergeSteps* steps) {
  constexpr int kOfWarp = kDims * kWarp;
  const int warp = int(threadIdx.x) / kWarp, n_warps = int(blockDim.x) / kWarp;
  const int of_query = (p.k.head_dim + kOfWarp - 1) / kOfWarp;
  for (int i = warp; i < item.n_queries * of_query; i += n_warps) {
    merge_query<kAhead, kDims>(p, memory, item, i / of_query, i % of_query * kOfWarp, steps[warp]);
  }
}

}  // namespace lm::cuda
