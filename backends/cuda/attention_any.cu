// Attention of every type and shape: a block takes one row and head, its threads are keys when
// scores are computed and dimensions when values are added. For prompts over caches in f32, and
// over heads or blocks of unusual size.
#include "backends/cuda/attention.cuh"
#include "backends/cuda/launch.h"
#include "backends/cuda/ptx.cuh"
#include "backends/cuda/reduce.cuh"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

constexpr int kThreads = kSegment;

struct SharedState {
  float* query;   // [head_dim]
  float* total;   // [head_dim]  weighted values, merged so far
  float* weight;  // [kSegment]
  float* parts;   // [kThreads / 32]  twice
};

// One segment: returns its m and l; weight[i] of its keys.
template <class Kv>
__device__ float2 score_segment(const AttentionParams& p, const SharedState& s, int segment,
                                const int32_t* table, int kv_head, KeyRange keys) {
  const int thread = int(threadIdx.x), key = segment * kSegment + thread;
  const bool seen = key >= keys.begin && key < keys.end;
  float score = -INFINITY;
  if (seen) {
    const std::byte* head = p.k.head(table[key / p.k.block_size], kv_head);
    float dot = 0;
    for (int d = 0; d < p.k.head_dim; ++d) {
      dot = fmaf(s.query[d], Kv::at(p.k, head, key % p.k.block_size, d), dot);
    }
    score = scaled(p, dot);
  }
  const float m = block_max(score, s.parts, thread, kThreads);
  // A NaN is no maximum: it stays in its weight.
  const float weight = seen ? exp2f(score - m) : 0.0f;
  s.weight[thread] = weight;
  const float l = block_sum(weight, s.parts + kThreads / kWarp, thread, kThreads);
  return make_float2(m, l);
}

// Leaves sequences of fewer rows alone. Flops: 4 head_dim for a key. Bytes: the keys and values,
// once for a head.
template <class Kv>
__global__ void attention_any_kernel(AttentionParams p, int least_rows) {
  LM_SHARED(float, memory);
  const int head_dim = p.k.head_dim, thread = int(threadIdx.x);
  const SharedState s = {memory, memory + head_dim, memory + 2 * head_dim,
                         memory + 2 * head_dim + kSegment};
  wait_for_previous_kernel();
  allow_next_kernel();
  const int row = int(blockIdx.x), head = int(blockIdx.y), kv_head = head / p.group;
  float* out = p.out + (int64_t(row) * p.n_heads + head) * p.out_stride;
  const int sequence = sequence_of(p, row);
  if (sequence < 0) {
    for (int d = thread; d < head_dim; d += kThreads) out[d] = 0;
    return;
  }
  const int n_rows = p.q_start[sequence + 1] - p.q_start[sequence];
  if (n_rows < least_rows) return;
  const float* q = p.q + (int64_t(row) * p.n_heads + head) * p.q_stride;
  for (int d = thread; d < head_dim; d += kThreads) {
    s.query[d] = q[d];
    s.total[d] = 0;
  }
  __syncthreads();
  const KeyRange keys = keys_at(p, p.kv_len[sequence] - n_rows + row - p.q_start[sequence]);
  const int32_t* table = p.block_table + sequence * p.table_stride;
  float2 state = make_float2(-INFINITY, 0);
  for (int segment = keys.begin / kSegment; segment * kSegment < keys.end; ++segment) {
    const Merge merge = merge_of(state, score_segment<Kv>(p, s, segment, table, kv_head, keys));
    const int base = segment * kSegment;
    const int begin = max(keys.begin, base), end = min(keys.end, base + kSegment);
    for (int d = thread; d < head_dim; d += kThreads) {
      float sum = 0;
      for (int key = begin; key < end; ++key) {
        const std::byte* values = p.v.head(table[key / p.v.block_size], kv_head);
        sum = fmaf(s.weight[key - base], Kv::at(p.v, values, key % p.v.block_size, d), sum);
      }
      s.total[d] = merge.of(s.total[d], sum);
    }
    state = merge.state;
    __syncthreads();  // before the next segment's weights and parts
  }
  const float factor = final_factor(p, head, state);
  for (int d = thread; d < head_dim; d += kThreads) out[d] = s.total[d] * factor;
}

}  // namespace

void attention_any(const Context& context, const AttentionParams& params, DType type,
                   int least_rows) {
  const size_t floats = size_t(2 * params.k.head_dim + kSegment + 2 * kThreads / kWarp);
  const Grid grid = {.blocks = dim3(unsigned(params.n_tokens), unsigned(params.n_heads)),
                     .threads = dim3(kThreads),
                     .shared_bytes = floats * sizeof(float)};
  switch (type) {
    case DType::f32:
      return launch(context, attention_any_kernel<F32Kv>, grid, params, least_rows);
    case DType::f16:
      return launch(context, attention_any_kernel<F16Kv>, grid, params, least_rows);
    default:
      return launch(context, attention_any_kernel<Q8Kv>, grid, params, least_rows);
  }
}

}  // namespace lm::cuda
