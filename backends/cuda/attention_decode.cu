// Attention of few rows (decoding, verifying drafts): bound by reading the cache, so that every key
// and value is read once for all heads and rows that share it, in 16-byte loads of many warps. The
// products run on tensor cores, which have time for it; see attention_plan.cuh for how work is cut
// and attention_fragments.cuh for the loads. (Flash-Decoding; online softmax: arXiv:1805.02867.)
#include <algorithm>

#include "backends/cuda/attention_fragments.cuh"
#include "backends/cuda/attention_merge.cuh"
#include "backends/cuda/attention_plan.cuh"
#include "backends/cuda/attention_softmax.cuh"
#include "backends/cuda/launch.h"
#include "backends/cuda/ops.h"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
// Of a multiprocessor: enough to have its share of the bandwidth on the way, and all a block's
// registers.
constexpr int kBlocksAtOnce = 2;
constexpr int kKeysOfWarp = kSegment / kWarps;  // of each segment
// See merge_query: as many loads as hide how long each takes.
constexpr int kMergeAhead = 16, kMergeDims = 4;

// What a block keeps in shared memory.
template <int kDim>
struct SharedParts {
  uint4 queries[HeadDims<kDim>::kSteps * kWarp];  // operands of each step and lane
  // Of one part. Queries are not a multiple of all banks apart, which a warp's would otherwise
  // share.
  float sums[kWarps][kTileQueries][kDim + 4];
  union {
    float totals[kTileQueries][kDim];  // of all parts so far
    MergeSteps merge_steps[kWarps];    // of split items, which have no totals
  };
  float2 states[kWarps][kTileQueries];   // m and l of sums
  float2 total_states[2][kTileQueries];  // of totals; before and after a part
  KeyRange seen[kTileQueries];           // by each query
  Item item;
  bool has_item, is_last;
};

// The queries as operands of the products, and what they see; zeros where the item has none.
template <int kDim>
__device__ void load_queries(const AttentionParams& p, const Item& item, SharedParts<kDim>& s) {
  const auto halves = [&](int i, int dim) {
    if (i >= item.n_queries) return make_uint2(0, 0);
    const int64_t row = item.plan.first_row + item.row(i, p.group);
    const float4 x = *reinterpret_cast<const float4*>(
        p.q + (row * p.n_heads + item.head(i, p.group)) * p.q_stride + dim);
    return make_uint2(bits_of(__floats2half2_rn(x.x, x.y)), bits_of(__floats2half2_rn(x.z, x.w)));
  };
  if (threadIdx.x < kTileQueries) {
    const int i = min(int(threadIdx.x), item.n_queries - 1);
    s.seen[threadIdx.x] = keys_at(p, item.plan.position(item.row(i, p.group)));
  }
  for (int i = int(threadIdx.x); i < HeadDims<kDim>::kSteps * kWarp; i += kThreads) {
    const int g = i % kWarp / 4, t = i % 4, dim = HeadDims<kDim>::query_dim(i / kWarp, t);
    const uint2 low = halves(g, dim), high = halves(g + 8, dim);
    s.queries[i] = make_uint4(low.x, high.x, low.y, high.y);
  }
}

// A warp's chunks of a part: 64 keys of each segment of 256.
struct ChunkWalk {
  int begin, end;  // of the part's keys that any query sees
  int base;        // the part's first key, and this warp's first
  __device__ int key(int chunk) const {
    constexpr int kOfWarp = kKeysOfWarp / kChunk;
    return base + chunk / kOfWarp * kSegment + chunk % kOfWarp * kChunk;
  }
  __device__ bool done(int chunk) const { return key(chunk) >= end; }
};

template <int kDim>
using WarpState = SoftmaxState<HeadDims<kDim>::kTiles>;

template <class Chunk, int kDim>
__device__ void reduce_part(const AttentionParams& p, const Item& item, int part,
                            const SharedParts<kDim>& s, WarpState<kDim>& state) {
  const int lane = int(threadIdx.x) % kWarp, g = lane / 4, t = lane % 4;
  const int32_t* table = p.block_table + item.plan.sequence * p.table_stride;
  ChunkWalk walk;
  walk.base = part_begin(part) + int(threadIdx.x) / kWarp * kKeysOfWarp;
  walk.begin = s.seen[0].begin;
  walk.end = min(s.seen[kTileQueries - 1].end, part_begin(part + 1));
  int chunk = 0;
  while (!walk.done(chunk) && walk.key(chunk) + kChunk <= walk.begin) ++chunk;
  if (walk.done(chunk)) return;

  // The next chunk is on its way while this one is reduced; where registers don't hold that many
  // values, only its keys.
  constexpr bool kValuesAhead = kDim <= 128;
  typename Chunk::Keys keys;
  typename Chunk::Values values;
  const unsigned block_size = unsigned(p.k.block_size);
  const auto block_of = [&](int c) { return table[unsigned(walk.key(c)) / block_size]; };
  const auto load_keys = [&](int block, int c) {
    const int token = int(unsigned(walk.key(c)) % block_size);
    Chunk::load_keys(p.k, {p.k.head(block, item.kv_head), token}, g, t, keys);
  };
  const auto load_values = [&](int block, int c) {
    const int token = int(unsigned(walk.key(c)) % block_size);
    // A bit for each key that some query sees.
    const int first = max(walk.begin - walk.key(c), 0), n = min(walk.end - walk.key(c), kChunk);
    const uint32_t valid = (0xFFFFu >> (kChunk - n)) & (0xFFFFu << first);
    Chunk::load_values(p.v, {p.v.head(block, item.kv_head), token}, g, t, valid, values);
  };
  int block = block_of(chunk);
  load_keys(block, chunk);
  if (kValuesAhead) load_values(block, chunk);
  for (; !walk.done(chunk); ++chunk) {
    const bool more = !walk.done(chunk + 1);
    const int next = more ? block_of(chunk + 1) : 0;
    float scores[2][4] = {};
    Chunk::score(keys, s.queries, lane, scores);
    if (!kValuesAhead) load_values(block, chunk);
    if (kValuesAhead && more) load_keys(next, chunk + 1);
    uint32_t weights[1][4];
    scale_scores(p, scores);
    const KeyRange seen[2] = {s.seen[g], s.seen[g + 8]};
    hide_keys(scores, walk.key(chunk), seen);
    soften(scores, state, weights);
    Chunk::add(values, weights[0], state.sums);
    if (!more) break;
    if (kValuesAhead) load_values(next, chunk + 1);
    if (!kValuesAhead) load_keys(next, chunk + 1);
    block = next;
  }
}

// A warp's sums to shared memory, for the block to merge.
template <int kDim>
__device__ void share(const Item& item, const WarpState<kDim>& state, SharedParts<kDim>& s) {
  const int warp = int(threadIdx.x) / kWarp, g = int(threadIdx.x) % kWarp / 4,
            t = int(threadIdx.x) % 4;
#pragma unroll
  for (int q = 0; q < 2; ++q) {
    const float l = whole_l(state, q);
    if (g + 8 * q >= item.n_queries) continue;
    if (t == 0) s.states[warp][g + 8 * q] = make_float2(state.m[q], l);
    float* sums = s.sums[warp][g + 8 * q];
#pragma unroll
    for (int n = 0; n < HeadDims<kDim>::kTiles; ++n) {
      sums[HeadDims<kDim>::output_dim(n, 2 * t)] = state.sums[n][2 * q];
      sums[HeadDims<kDim>::output_dim(n, 2 * t + 1)] = state.sums[n][2 * q + 1];
    }
  }
}

// The warps' sums of a part become one, in order; it is kept for the tile's last block, or merged
// with the parts before it and, behind the last one, written out.
template <int kDim>
__device__ void finish_part(const AttentionParams& p, const PartMemory& memory, const Item& item,
                            int part, SharedParts<kDim>& s) {
  const int before = part % 2;  // which of total_states
  const bool first = part == item.first_part, last = part + 1 == item.first_part + item.n_parts;
  for (int i = int(threadIdx.x); i < item.n_queries * kDim; i += kThreads) {
    const int query = i / kDim, dim = i % kDim;
    float2 state = s.states[0][query];
    float sum = s.sums[0][query][dim];
    for (int w = 1; w < kWarps; ++w) {
      const Merge merge = merge_of(state, s.states[w][query]);
      state = merge.state;
      sum = merge.of(sum, s.sums[w][query][dim]);
    }
    const int row = item.row(query, p.group), head = item.head(query, p.group);
    if (item.plan.split) {
      const int64_t slot = slot_of(p, item.plan, row, head, part);
      memory.sums[slot * kDim + dim] = sum;
      if (dim == 0) memory.states[slot] = state;
      continue;
    }
    const float2 none = make_float2(-INFINITY, 0);
    const Merge merge = merge_of(first ? none : s.total_states[before][query], state);
    const float total = merge.of(first ? 0.0f : s.totals[query][dim], sum);
    if (last) {
      out_of(p, item.plan, row, head)[dim] = total * final_factor(p, head, merge.state);
    } else {
      s.totals[query][dim] = total;
      if (dim == 0) s.total_states[1 - before][query] = merge.state;
    }
  }
}

// Bytes: what the sequences' keys and values take, once for every 16 queries of a KV head, and 8 a
// dimension of each query and part. Flops: 64 a key and dimension.
template <class Chunk, int kDim>
__global__ __launch_bounds__(kThreads,
                             kBlocksAtOnce) void attention_decode_kernel(AttentionParams p,
                                                                         PartMemory memory) {
  LM_SHARED(SharedParts<kDim>, s);
  wait_for_previous_kernel();
  allow_next_kernel();
  for (int index = int(blockIdx.x);; index += int(gridDim.x)) {
    __syncthreads();  // the item before is finished
    take_item(p, memory, index, s->item, s->has_item);
    __syncthreads();
    if (!s->has_item) return;
    const Item& item = s->item;
    load_queries<kDim>(p, item, *s);
    for (int part = item.first_part; part < item.first_part + item.n_parts; ++part) {
      __syncthreads();
      WarpState<kDim> state;
      reduce_part<Chunk, kDim>(p, item, part, *s, state);
      share<kDim>(item, state, *s);
      __syncthreads();
      finish_part<kDim>(p, memory, item, part, *s);
    }
    if (item.plan.split && finishes_tile(p, memory, item, s->is_last)) {
      merge_tile<kMergeAhead, kMergeDims>(p, memory, item, s->merge_steps);
    }
  }
}

template <template <int> class Chunk, int kDim>
void launch_decode(const Context& context, const AttentionParams& params,
                   const PartMemory& memory) {
  const int64_t at_once = kBlocksAtOnce * context.facts.n_multiprocessors;
  launch(context, attention_decode_kernel<Chunk<kDim>, kDim>,
         {.blocks = dim3(unsigned(std::min(at_once, most_items_of(params)))),
          .threads = dim3(kThreads),
          .shared_bytes = sizeof(SharedParts<kDim>)},
         params, memory);
}

// The kernel of a type and head size, or nullptr.
using Launcher = void (*)(const Context&, const AttentionParams&, const PartMemory&);
Launcher launcher_of(DType type, int head_dim) {
  const bool half = type == DType::f16;
  if (!half && type != DType::q8_0) return nullptr;
  switch (head_dim) {
    case 64:
      return half ? launch_decode<F16Chunk, 64> : launch_decode<Q8Chunk, 64>;
    case 80:
      return half ? launch_decode<F16Chunk, 80> : nullptr;
    case 96:
      return half ? launch_decode<F16Chunk, 96> : launch_decode<Q8Chunk, 96>;
    case 128:
      return half ? launch_decode<F16Chunk, 128> : launch_decode<Q8Chunk, 128>;
    case 256:
      return half ? launch_decode<F16Chunk, 256> : launch_decode<Q8Chunk, 256>;
    default:
      return nullptr;
  }
}

}  // namespace

Status prepare_attention_decode(const DeviceFacts& facts) {
  constexpr size_t kBytes = sizeof(SharedParts<256>);
  if (size_t(facts.max_shared_bytes) < kBytes) return ok();
  LM_TRY(allow_shared_bytes(attention_decode_kernel<F16Chunk<256>, 256>, kBytes));
  return allow_shared_bytes(attention_decode_kernel<Q8Chunk<256>, 256>, kBytes);
}

bool decodes(const Context& context, const AttentionParams& p, DType type) {
  if (p.k.head_dim == 256 && size_t(context.facts.max_shared_bytes) < sizeof(SharedParts<256>)) {
    return false;
  }
  return launcher_of(type, p.k.head_dim) != nullptr && p.k.block_size % kChunk == 0 &&
         rows_are_aligned(p);
}

size_t decode_scratch_bytes(const StepLimits& limits) {
  const size_t slots = size_t(std::min(limits.max_tokens, kMostDecodeRows)) *
                       size_t(limits.n_heads) * size_t(kFineParts + 2 * kPartsPerDoubling);
  return slots * (size_t(limits.head_dim) * sizeof(float) + sizeof(float2));
}

PartMemory part_memory_of(const Context& context, const AttentionParams& params) {
  const size_t slot_bytes = size_t(params.k.head_dim) * sizeof(float) + sizeof(float2);
  LM_CHECK(size_t(params.n_seqs) * size_t(params.n_heads) * sizeof(unsigned) <=
           context.scratch.bytes[size_t(Scratch::attention_tickets)]);
  const size_t slots = context.scratch.bytes[size_t(Scratch::attention)] / slot_bytes;
  std::byte* base = context.memory(Scratch::attention);
  return {.states = reinterpret_cast<float2*>(base),
          .sums = reinterpret_cast<float*>(base + slots * sizeof(float2)),
          .n_slots = int(slots),
          .tickets = reinterpret_cast<unsigned*>(context.memory(Scratch::attention_tickets))};
}

void attention_decode(const Context& context, const AttentionParams& params, DType type) {
  const PartMemory memory = part_memory_of(context, params);
  launcher_of(type, params.k.head_dim)(context, params, memory);
}

}  // namespace lm::cuda
