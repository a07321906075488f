// backends/cuda/attention_plan.cuh — how decoding rows are cut into work, found on the device from
// the step's lengths: a grid of fixed size serves every step.
//
// A sequence of up to kMostDecodeRows rows is decoded: the query heads of a KV head for all its
// rows ("queries": row by row, head by head) are tiles of 16, and its keys are parts at fixed
// absolute positions. Parts are reduced each from (-inf, 0, 0) and merged in order, so that a row's
// bits depend on its own position alone. While there is scratch memory, each part of each tile is
// an item of work, and the block that finishes a tile's last one merges them (attention_merge.cuh);
// a sequence for which there is none has one item for each tile and KV head, which does the same
// alone.
#pragma once
#include <algorithm>

#include "backends/cuda/attention.cuh"
#include "backends/cuda/reduce.cuh"

namespace lm::cuda {

inline constexpr int kTileQueries = 16;

// Parts are kSegment keys; behind kFineKeys, as many as make kPartsPerDoubling parts of each
// doubled length, so that their number stays small.
inline constexpr int kFineKeys = 32768;
inline constexpr int kFineParts = kFineKeys / kSegment;
inline constexpr int kPartsPerDoubling = kFineParts / 2;

__device__ inline int part_of(int position) {
  if (position < kFineKeys) return position / kSegment;
  const int doubling = 31 - __clz(position / kFineKeys);
  const int start = kFineKeys << doubling;
  return kFineParts + doubling * kPartsPerDoubling +
         (position - start) / ((2 * kSegment) << doubling);
}

// The first key of a part; of part + 1: its end.
__device__ inline int part_begin(int part) {
  if (part <= kFineParts) return part * kSegment;
  const int doubling = (part - kFineParts) / kPartsPerDoubling;
  const int within = (part - kFineParts) % kPartsPerDoubling;
  return (kFineKeys << doubling) + within * ((2 * kSegment) << doubling);
}

// What was found for one query and part, a slot each. The pairs lie in front of the sums, where
// they are aligned whatever the head's size.
struct PartMemory {
  float2* states;  // m and l
  float* sums;     // [slots, head_dim]
  int n_slots;
  unsigned* tickets;  // [n_seqs, group, KV heads]: parts of a tile that are finished; between
                      // kernels zero, as when the memory was allocated
};

// attention_decode.cu: the step's scratch memory as such.
PartMemory part_memory_of(const Context& context, const AttentionParams& params);

struct SequencePlan {
  int sequence, first_row, n_rows, kv_len;
  int first_part, n_parts;
  int n_tiles;     // of a KV head
  int n_items;     // of all heads, tiles and, if `split`, parts
  int first_slot;  // of its n_rows * n_heads * n_parts; the parts of a row and head lie together
  bool split;

  // Of the row-th row (see StepView: positions are consecutive).
  __device__ int position(int row) const { return kv_len - n_rows + row; }
};

// Plans 32 sequences, a lane each; first_slot and `first_item` are of all that come before.
__device__ inline SequencePlan plan_of_lane(const AttentionParams& p, int sequence, int n_slots,
                                            int& slots_before, int& items_before, int& first_item) {
  const int lane = int(threadIdx.x) % kWarp;
  SequencePlan plan = {};
  plan.sequence = sequence;
  if (sequence < p.n_seqs) {
    plan.first_row = p.q_start[sequence];
    plan.n_rows = p.q_start[sequence + 1] - plan.first_row;
    plan.kv_len = p.kv_len[sequence];
  }
  if (plan.n_rows > 0 && plan.n_rows <= kMostDecodeRows && plan.kv_len > 0) {
    const int begin = p.window > 0 ? max(0, plan.position(0) - p.window + 1) : 0;
    plan.first_part = part_of(begin);
    plan.n_parts = part_of(plan.kv_len - 1) + 1 - plan.first_part;
    plan.n_tiles = (plan.n_rows * p.group + kTileQueries - 1) / kTileQueries;
  }
  const int slots = plan.n_parts > 1 ? plan.n_rows * p.n_heads * plan.n_parts : 0;
  const int slots_end = slots_before + running_sum(slots, lane);
  plan.first_slot = slots_end - slots;
  plan.split = plan.n_parts > 1 && slots_end <= n_slots;
  plan.n_items = plan.n_tiles * p.k.n_heads * (plan.split ? plan.n_parts : 1);
  const int items_end = items_before + running_sum(plan.n_items, lane);
  first_item = items_end - plan.n_items;
  slots_before = __shfl_sync(kAllLanes, slots_end, kWarp - 1);
  items_before = __shfl_sync(kAllLanes, items_end, kWarp - 1);
  return plan;
}

__device__ inline SequencePlan plan_from_lane(const SequencePlan& plan, int lane) {
  const auto from = [&](int x) { return __shfl_sync(kAllLanes, x, lane); };
  return {from(plan.sequence),   from(plan.first_row),      from(plan.n_rows),  from(plan.kv_len),
          from(plan.first_part), from(plan.n_parts),        from(plan.n_tiles), from(plan.n_items),
          from(plan.first_slot), from(int(plan.split)) != 0};
}

// The sequence of the index-th item of all, and which of its items that is; by a whole warp.
// False: there are fewer.
__device__ inline bool find_item(const AttentionParams& p, int n_slots, int index,
                                 SequencePlan& plan, int& item) {
  const int lane = int(threadIdx.x) % kWarp;
  int slots = 0, items = 0;
  for (int first = 0; first < p.n_seqs; first += kWarp) {
    int first_item = 0;
    const SequencePlan mine = plan_of_lane(p, first + lane, n_slots, slots, items, first_item);
    const unsigned found =
        __ballot_sync(kAllLanes, first_item <= index && index < first_item + mine.n_items);
    if (found == 0) continue;
    plan = plan_from_lane(mine, __ffs(int(found)) - 1);
    item = index - __shfl_sync(kAllLanes, first_item, __ffs(int(found)) - 1);
    return true;
  }
  return false;
}

// One item of work: some queries of one KV head and the parts of the keys to be reduced for them.
struct Item {
  SequencePlan plan;
  int kv_head, first_query, n_queries;
  int first_part, n_parts;

  // Query i of the item is a row of the sequence and a head of the group.
  __device__ int row(int i, int group) const { return (first_query + i) / group; }
  __device__ int head(int i, int group) const {
    return kv_head * group + (first_query + i) % group;
  }
};

__device__ inline Item item_of(const AttentionParams& p, const SequencePlan& plan, int index) {
  Item item;
  item.plan = plan;
  item.kv_head = index % p.k.n_heads;
  index /= p.k.n_heads;
  item.first_query = index % plan.n_tiles * kTileQueries;
  item.n_queries = min(kTileQueries, plan.n_rows * p.group - item.first_query);
  item.first_part = plan.first_part + (plan.split ? index / plan.n_tiles : 0);
  item.n_parts = plan.split ? 1 : plan.n_parts;
  return item;
}

// Rows of no sequence, which are the last ones, become zeros: all blocks, without their first warp,
// which has an item to find.
__device__ inline void clear_padding(const AttentionParams& p) {
  const int thread = int(threadIdx.x) - kWarp, n_threads = int(blockDim.x) - kWarp;
  const int64_t first = int64_t(p.q_start[p.n_seqs]) * p.n_heads;
  const int64_t n = (int64_t(p.n_tokens) * p.n_heads - first) * p.k.head_dim;
  for (int64_t i = int64_t(blockIdx.x) * n_threads + thread; i < n;
       i += int64_t(gridDim.x) * n_threads) {
    p.out[(first + i / p.k.head_dim) * p.out_stride + i % p.k.head_dim] = 0;
  }
}

// The index-th item, if there is one; the whole block, of which the first warp finds it.
__device__ inline void take_item(const AttentionParams& p, const PartMemory& memory, int index,
                                 Item& item, bool& has_item) {
  if (threadIdx.x >= kWarp) {
    if (index == int(blockIdx.x)) clear_padding(p);
    return;
  }
  SequencePlan plan;
  int within = 0;
  const bool found = find_item(p, memory.n_slots, index, plan, within);
  if (threadIdx.x != 0) return;
  has_item = found;
  if (found) item = item_of(p, plan, within);
}

// Of the item's tile: at most kMostDecodeRows * group queries are `group` tiles of a KV head.
__device__ inline int ticket_of(const AttentionParams& p, const Item& item) {
  static_assert(kMostDecodeRows <= kTileQueries);
  const int tile = item.first_query / kTileQueries;
  return (item.plan.sequence * p.group + tile) * p.k.n_heads + item.kv_head;
}

// Where the part-th part of a query's state lies.
__device__ inline int64_t slot_of(const AttentionParams& p, const SequencePlan& plan, int row,
                                  int head, int part) {
  return plan.first_slot + (int64_t(row) * p.n_heads + head) * plan.n_parts + part -
         plan.first_part;
}

__device__ inline float* out_of(const AttentionParams& p, const SequencePlan& plan, int row,
                                int head) {
  return p.out + (int64_t(plan.first_row + row) * p.n_heads + head) * p.out_stride;
}

// The most items that a step of this shape can have, of as many keys as the table has room for; one
// at least, for rows of no sequence.
inline int64_t most_items_of(const AttentionParams& p) {
  const int64_t rows = std::min(p.n_tokens, kMostDecodeRows);
  const int64_t tiles = (rows * p.group + kTileQueries - 1) / kTileQueries;
  const int64_t parts = (int64_t(p.max_blocks) * p.k.block_size + kSegment - 1) / kSegment;
  return std::max<int64_t>(1, p.n_seqs * tiles * p.k.n_heads * parts);
}

}  // namespace lm::cuda
