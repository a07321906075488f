// Attention of few rows over caches that attention_decode.cu does not take: f32, whose numbers
// tensor cores would round, and heads or blocks of other sizes. All in f32. Work is cut as there
// (attention_plan.cuh): a block reduces some keys for up to 16 queries of a KV head, so that what
// it reads of a key serves all of them.
#include <algorithm>

#include "backends/cuda/attention_merge.cuh"
#include "backends/cuda/attention_plan.cuh"
#include "backends/cuda/launch.h"
#include "backends/cuda/ptx.cuh"
#include "backends/cuda/reduce.cuh"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

constexpr int kThreads = kSegment;  // a key each, when scores are computed
constexpr int kMostDim = 256;
constexpr int kBlocksAtOnce = 4;                // of a multiprocessor
constexpr int kMergeAhead = 4, kMergeDims = 2;  // see merge_query: more take more registers

// What a block keeps in shared memory; behind it the queries, and what was summed of a part, f32
// [kTileQueries][head_dim] each.
struct alignas(16) SharedTile {
  union {
    // Products, scores and weights, [query][key]; then sums of values, [group of
    // keys][query][dimension].
    float numbers[kTileQueries * kSegment];
    MergeSteps merge_steps[kThreads / kWarp];  // behind the last segment
  };
  int32_t heads[kSegment], tokens[kSegment];  // where the segment's keys lie: see KvCacheView
  float2 segment[kTileQueries];               // m and l of a segment,
  float2 part[2][kTileQueries];               // of a part so far, before and after a segment,
  float2 total[2][kTileQueries];              // and of all parts so far, before and after a part
  KeyRange seen[kTileQueries];                // by each query
  Item item;
  bool has_item, is_last;
};

constexpr size_t shared_bytes(int head_dim) {
  return sizeof(SharedTile) + 2 * size_t(kTileQueries * head_dim) * sizeof(float);
}

__device__ inline float* queries_of(SharedTile* s) {
  return reinterpret_cast<float*>(s + 1);
}
__device__ inline float* sums_of(SharedTile* s, int head_dim) {
  return queries_of(s) + kTileQueries * head_dim;
}

// The queries and what they see; zeros where the item has none.
__device__ void load_queries(const AttentionParams& p, const Item& item, SharedTile* s) {
  const int head_dim = p.k.head_dim;
  for (int i = int(threadIdx.x); i < kTileQueries * head_dim; i += kThreads) {
    const int query = i / head_dim;
    float x = 0;
    if (query < item.n_queries) {
      const int64_t row = item.plan.first_row + item.row(query, p.group);
      x = p.q[(row * p.n_heads + item.head(query, p.group)) * p.q_stride + i % head_dim];
    }
    queries_of(s)[i] = x;
  }
  if (threadIdx.x < kTileQueries) {
    const int query = min(int(threadIdx.x), item.n_queries - 1);
    s->seen[threadIdx.x] = keys_at(p, item.plan.position(item.row(query, p.group)));
  }
}

// This thread's key times the queries. Every sum runs over the dimensions in order.
template <class Kv, int kQueries>
__device__ void score_key(const AttentionParams& p, int kv_head, const int32_t* table, int key,
                          bool seen, SharedTile* s) {
  const int thread = int(threadIdx.x), head_dim = p.k.head_dim;
  float dots[kQueries] = {};
  if (seen) {
    const int block = key / p.k.block_size, token = key % p.k.block_size;
    s->heads[thread] = table[block] * p.k.n_heads + kv_head;
    s->tokens[thread] = token;
    const std::byte* head = p.k.head(table[block], kv_head);
    const float* queries = queries_of(s);
    const int in_fours = head_dim % 4 == 0 ? head_dim : 0;
#pragma unroll 1
    for (int d = 0; d < in_fours; d += 4) {
      const float4 k = Kv::four_at(p.k, head, token, d);
#pragma unroll
      for (int q = 0; q < kQueries; ++q) {
        const float4 x = *reinterpret_cast<const float4*>(queries + q * head_dim + d);
        dots[q] = fmaf(x.w, k.w, fmaf(x.z, k.z, fmaf(x.y, k.y, fmaf(x.x, k.x, dots[q]))));
      }
    }
#pragma unroll 1
    for (int d = in_fours; d < head_dim; ++d) {
      const float k = Kv::at(p.k, head, token, d);
#pragma unroll
      for (int q = 0; q < kQueries; ++q) dots[q] = fmaf(queries[q * head_dim + d], k, dots[q]);
    }
  }
#pragma unroll
  for (int q = 0; q < kQueries; ++q) s->numbers[q * kSegment + thread] = dots[q];
}

// Products become scores and those weights, a warp for each query.
__device__ __forceinline__ void soften_segment(const AttentionParams& p, int n_queries,
                                               int first_key, SharedTile* s) {
  const int lane = int(threadIdx.x) % kWarp;
#pragma unroll 1
  for (int q = int(threadIdx.x) / kWarp; q < n_queries; q += kThreads / kWarp) {
    float* weights = s->numbers + q * kSegment;
    const KeyRange keys = s->seen[q];
    const auto seen = [&](int i) {
      return first_key + i >= keys.begin && first_key + i < keys.end;
    };
    float m = -INFINITY;
#pragma unroll 1
    for (int i = lane; i < kSegment; i += kWarp) {
      weights[i] = seen(i) ? scaled(p, weights[i]) : -INFINITY;
      m = fmaxf(m, weights[i]);
    }
    m = warp_max(m);
    // A NaN is no maximum: it stays in its weight.
    float l = 0;
    for (int i = lane; i < kSegment; i += kWarp) {
      weights[i] = seen(i) ? exp2f(weights[i] - m) : 0.0f;
      l += weights[i];
    }
    l = warp_sum(l);
    if (lane == 0) s->segment[q] = make_float2(m, l);
  }
}

// The threads of a group of keys have a dimension each; of few dimensions there are more groups.
struct ValueGroup {
  int dims, index, dim;  // of a group, rounded up; which group; which dimension
  __device__ explicit ValueGroup(int head_dim) {
    dims = head_dim <= 32 ? 32 : head_dim <= 64 ? 64 : head_dim <= 128 ? 128 : kMostDim;
    index = int(threadIdx.x) / dims;
    dim = int(threadIdx.x) % dims;
  }
  __device__ int n_groups() const { return kThreads / dims; }
};

// Sums of this thread's keys of the segment, those in [begin, end), left in shared memory.
template <class Kv, int kQueries>
__device__ void add_values(const AttentionParams& p, const ValueGroup& group, int begin, int end,
                           SharedTile* s) {
  const int first = group.index * group.dims;
  const bool valid = group.dim < p.v.head_dim;
  float sums[kQueries] = {};
  if (valid) {
#pragma unroll 4
    for (int i = max(first, begin); i < min(first + group.dims, end); ++i) {
      const std::byte* head = p.v.data + s->heads[i] * p.v.head_bytes;
      const float v = Kv::at(p.v, head, s->tokens[i], group.dim);
#pragma unroll
      for (int q = 0; q < kQueries; ++q) {
        sums[q] = fmaf(s->numbers[q * kSegment + i], v, sums[q]);
      }
    }
  }
  __syncthreads();  // the weights have been read
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
    if (valid) s->numbers[(group.index * kTileQueries + q) * group.dims + group.dim] = sums[q];
  }
  __syncthreads();
}

// body(i, query, dimension) of this thread's share of the sums.
template <class Body>
__device__ inline void for_own_sums(const Item& item, int head_dim, const Body& body) {
#pragma unroll 1
  for (int i = int(threadIdx.x); i < item.n_queries * head_dim; i += kThreads) {
    body(i, i / head_dim, i % head_dim);
  }
}

// Adds a segment to the part's sums. `now`: which of s->part is of what came before.
template <class Kv, int kQueries>
__device__ void reduce_segment(const AttentionParams& p, const Item& item, int first_key, int now,
                               SharedTile* s) {
  const int32_t* table = p.block_table + item.plan.sequence * p.table_stride;
  // Seen by any query.
  const int begin = s->seen[0].begin, end = s->seen[kTileQueries - 1].end;
  const int key = first_key + int(threadIdx.x);
  score_key<Kv, kQueries>(p, item.kv_head, table, key, key >= begin && key < end, s);
  __syncthreads();
  soften_segment(p, item.n_queries, first_key, s);
  __syncthreads();
  const ValueGroup group(p.v.head_dim);
  add_values<Kv, kQueries>(p, group, begin - first_key, end - first_key, s);
  float* sums = sums_of(s, p.v.head_dim);
  for_own_sums(item, p.v.head_dim, [&](int i, int query, int dim) {
    float sum = 0;
    for (int g = 0; g < group.n_groups(); ++g) {
      sum += s->numbers[(g * kTileQueries + query) * group.dims + dim];
    }
    const Merge merge = merge_of(s->part[now][query], s->segment[query]);
    sums[i] = merge.of(sums[i], sum);
    if (dim == 0) s->part[1 - now][query] = merge.state;
  });
  __syncthreads();  // before the next segment's scores
}

// Keeps a part for the tile's last block, or merges it with those before it, whose sums the output
// holds until the last one.
__device__ __forceinline__ void finish_part(const AttentionParams& p, const PartMemory& memory,
                                            const Item& item, int part, int now, SharedTile* s) {
  const int head_dim = p.k.head_dim, before = part % 2;
  const bool first = part == item.first_part, last = part + 1 == item.first_part + item.n_parts;
  const float* sums = sums_of(s, head_dim);
  for_own_sums(item, head_dim, [&](int i, int query, int dim) {
    const int row = item.row(query, p.group), head = item.head(query, p.group);
    const float2 state = s->part[now][query];
    if (item.plan.split) {
      const int64_t slot = slot_of(p, item.plan, row, head, part);
      memory.sums[slot * head_dim + dim] = sums[i];
      if (dim == 0) memory.states[slot] = state;
      return;
    }
    const Merge merge =
        merge_of(first ? make_float2(-INFINITY, 0) : s->total[before][query], state);
    float* out = out_of(p, item.plan, row, head) + dim;
    const float total = merge.of(first ? 0.0f : *out, sums[i]);
    *out = last ? total * final_factor(p, head, merge.state) : total;
    if (dim == 0) s->total[1 - before][query] = merge.state;
  });
  __syncthreads();  // before the next part
}

template <class Kv, int kQueries>
__device__ void reduce_item(const AttentionParams& p, const PartMemory& memory, const Item& item,
                            SharedTile* s) {
  const int begin = s->seen[0].begin, end = s->seen[kTileQueries - 1].end;
  for (int part = item.first_part; part < item.first_part + item.n_parts; ++part) {
    float* sums = sums_of(s, p.k.head_dim);
    for_own_sums(item, p.k.head_dim, [&](int i, int, int) { sums[i] = 0; });
    int now = 0;
    if (threadIdx.x < kTileQueries) s->part[0][threadIdx.x] = make_float2(-INFINITY, 0);
    __syncthreads();
    const int last = min(part_begin(part + 1), end);
    for (int key = part_begin(part); key < last; key += kSegment) {
      if (key + kSegment <= begin) continue;
      reduce_segment<Kv, kQueries>(p, item, key, now, s);
      now = 1 - now;
    }
    finish_part(p, memory, item, part, now, s);
  }
}

// Bytes: what the sequences' keys and values take, once for every 16 queries of a KV head, and 8 a
// dimension of each query and part. Flops: 4 a query, key and dimension, of at least 4 queries.
template <class Kv>
__global__ __launch_bounds__(kThreads, kBlocksAtOnce) void decode_any_kernel(AttentionParams p,
                                                                             PartMemory memory) {
  LM_SHARED(SharedTile, s);
  wait_for_previous_kernel();
  allow_next_kernel();
  for (int index = int(blockIdx.x);; index += int(gridDim.x)) {
    __syncthreads();  // the item before is finished
    take_item(p, memory, index, s->item, s->has_item);
    __syncthreads();
    if (!s->has_item) return;
    const Item& item = s->item;
    load_queries(p, item, s);
    __syncthreads();
    if (item.n_queries <= 4) {
      reduce_item<Kv, 4>(p, memory, item, s);
    } else {
      reduce_item<Kv, kTileQueries>(p, memory, item, s);
    }
    if (item.plan.split && finishes_tile(p, memory, item, s->is_last)) {
      merge_tile<kMergeAhead, kMergeDims>(p, memory, item, s->merge_steps);
    }
  }
}

template <class Kv>
void launch_any(const Context& context, const AttentionParams& params, const PartMemory& memory) {
  const int64_t at_once = kBlocksAtOnce * context.facts.n_multiprocessors;
  launch(context, decode_any_kernel<Kv>,
         {.blocks = dim3(unsigned(std::min(at_once, most_items_of(params)))),
          .threads = dim3(kThreads),
          .shared_bytes = shared_bytes(params.k.head_dim)},
         params, memory);
}

}  // namespace

Status prepare_attention_decode_any() {
  LM_TRY(allow_shared_bytes(decode_any_kernel<F32Kv>, shared_bytes(kMostDim)));
  LM_TRY(allow_shared_bytes(decode_any_kernel<F16Kv>, shared_bytes(kMostDim)));
  return allow_shared_bytes(decode_any_kernel<Q8Kv>, shared_bytes(kMostDim));
}

bool decodes_any(const AttentionParams& params) {
  return params.k.head_dim <= kMostDim;
}

void attention_decode_any(const Context& context, const AttentionParams& params, DType type) {
  const PartMemory memory = part_memory_of(context, params);
  switch (type) {
    case DType::f32:
      launch_any<F32Kv>(context, params, memory);
      break;
    case DType::f16:
      launch_any<F16Kv>(context, params, memory);
      break;
    default:
      launch_any<Q8Kv>(context, params, memory);
      break;
  }
}

}  // namespace lm::cuda
