// Attention over the paged cache, as an online softmax (arXiv:1805.02867): keys are reduced in
// segments of 256 at absolute positions, each from (-inf, 0, 0), and merged in order. A few rows
// of a sequence share one pass over the keys; which ones changes no bit.
#include <algorithm>
#include <cmath>

#include "backends/cpu/ops.h"
#include "engine/core/check.h"

namespace lm::cpu {
namespace {

// The parts of one thread's scratch. A tile has `queries` = rows · heads of the group.
struct Scratch {
  float* query;        // [queries, head_dim]
  float* sum;          // [queries, head_dim]  Σ exp(s - m) v so far
  float* part;         // [queries, head_dim]  the same over the current segment
  float* scores;       // [queries, 256]
  float* decoded;      // [256, head_dim]  keys or values as f32
  float* m;            // [queries]
  float* l;            // [queries]
  SoftmaxPart* parts;  // [queries]  of the current segment
};

Scratch partition(float* p, int64_t queries, int64_t head_dim) {
  Scratch s{};
  s.query = p;
  s.sum = s.query + queries * head_dim;
  s.part = s.sum + queries * head_dim;
  s.scores = s.part + queries * head_dim;
  s.decoded = s.scores + queries * kSegment;
  s.m = s.decoded + kSegment * head_dim;
  s.l = s.m + queries;
  s.parts = reinterpret_cast<SoftmaxPart*>(s.l + queries);
  return s;
}

int64_t scratch_floats(int64_t queries, int64_t head_dim) {
  return queries * (3 * head_dim + kSegment + 4) + kSegment * head_dim;
}

// What is the same for all tiles.
struct Call {
  const Context& context;
  const Attention& op;
  const StepView& step;
  int64_t n_heads, n_kv_heads, head_dim, group;
};

// Keys [begin, end) in absolute positions.
struct Range {
  int64_t begin = 0, end = 0;
  bool empty() const { return begin >= end; }
};

Range intersect(Range a, Range b) {
  return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

// The keys that a row sees.
Range visible(const Call& call, int32_t seq, int64_t row) {
  const int64_t position = i32(call.step.positions)[row];
  const int64_t end = std::min<int64_t>(position + 1, i32(call.step.kv_len)[seq]);
  const int64_t begin = call.op.window > 0 ? position - call.op.window + 1 : 0;
  return {std::max<int64_t>(begin, 0), end};
}

// Calls use(first key, n, f32 rows) for each run of keys of `range` that lie together in a block.
template <class Use>
void for_each_run(const Call& call, Tensor cache, int32_t seq, int64_t head, Range range,
                  float* decoded, const Use& use) {
  const int64_t block_size = call.step.block_size;
  const Tensor& table = call.step.block_table;
  const int32_t* blocks = i32(table) + seq * (table.row_bytes / 4);
  for (int64_t key = range.begin; key < range.end;) {
    const int64_t index = key / block_size, offset = key % block_size;
    const int64_t n = std::min(block_size - offset, range.end - key);
    LM_CHECK(index < table.cols());
    const int64_t block = blocks[index];
    LM_CHECK(block >= 0 && block < cache.shape[0]);
    const int64_t row = (block * call.n_kv_heads + head) * block_size + offset;
    const std::byte* stored = cache.data() + row * cache.row_bytes;
    const float* rows = decoded;
    switch (cache.dtype) {
      case DType::f32:
        rows = reinterpret_cast<const float*>(stored);
        break;
      case DType::f16:
        call.context.kernels.f16_to_f32(stored, n * call.head_dim, decoded);
        break;
      default:
        call.context.kernels.q8_0_to_f32(stored, n * call.head_dim, decoded);
        break;
    }
    use(key, int(n), rows);
    key += n;
  }
}

// Adds (m, l, part) of a segment to the state of one query.
void merge(const Call& call, SoftmaxPart more, const float* part, float& m, float& l, float* sum) {
  const float new_m = std::max(m, more.m);
  const float old_weight = m == new_m ? 1.0f : call.context.kernels.exp(m - new_m);
  const float part_weight = more.m == new_m ? 1.0f : call.context.kernels.exp(more.m - new_m);
  call.context.kernels.scale_add(sum, old_weight, part, part_weight, call.head_dim);
  l = l * old_weight + more.l * part_weight;
  m = new_m;
}

// One segment of keys for every query of the tile.
void reduce_segment(const Call& call, const QueryTile& tile, int64_t kv_head, Range segment,
                    const Scratch& s) {
  const Kernels& kernels = call.context.kernels;
  const int64_t base = segment.begin / kSegment * kSegment;
  const int n_queries = int(tile.n * call.group);
  for_each_run(call, call.op.k_cache, tile.seq, kv_head, segment, s.decoded,
               [&](int64_t key, int n, const float* keys) {
                 kernels.scores(s.query, n_queries, keys, n, int(call.head_dim), call.op.scale,
                                s.scores + (key - base));
               });
  std::fill_n(s.part, n_queries * call.head_dim, 0.0f);
  for (int i = 0; i < n_queries; ++i) {
    const Range seen = intersect(segment, visible(call, tile.seq, tile.first + i / call.group));
    if (seen.empty()) continue;
    float* row = s.scores + i * kSegment + (seen.begin - base);
    const int n = int(seen.end - seen.begin);
    if (call.op.softcap > 0) kernels.soft_cap(row, n, call.op.softcap);
    s.parts[i] = kernels.softmax_part(row, n);
  }
  for_each_run(
      call, call.op.v_cache, tile.seq, kv_head, segment, s.decoded,
      [&](int64_t key, int n, const float* values) {
        for (int32_t r = 0; r < tile.n; ++r) {
          const Range seen = intersect(visible(call, tile.seq, tile.first + r), {key, key + n});
          if (seen.empty()) continue;
          const int64_t first = r * call.group;
          kernels.weighted_sum(s.scores + first * kSegment + (seen.begin - base), int(call.group),
                               values + (seen.begin - key) * call.head_dim,
                               int(seen.end - seen.begin), int(call.head_dim),
                               s.part + first * call.head_dim);
        }
      });
  for (int i = 0; i < n_queries; ++i) {
    if (intersect(segment, visible(call, tile.seq, tile.first + i / call.group)).empty()) continue;
    merge(call, s.parts[i], s.part + i * call.head_dim, s.m[i], s.l[i], s.sum + i * call.head_dim);
  }
}

// out = sum / l, with the sink as one more term of l.
void finish(const Call& call, const QueryTile& tile, int64_t kv_head, const Scratch& s) {
  for (int64_t i = 0; i < tile.n * call.group; ++i) {
    const int64_t head = kv_head * call.group + i % call.group;
    float scale = 1, l = s.l[i];
    if (call.op.sinks) {
      const float sink = f32(call.op.sinks)[head];
      const float m = std::max(s.m[i], sink);
      scale = call.context.kernels.exp(s.m[i] - m);
      l = l * scale + call.context.kernels.exp(sink - m);
    }
    float* out = f32_row(call.op.out, (tile.first + i / call.group) * call.n_heads + head);
    const float* sum = s.sum + i * call.head_dim;
    const float factor = l == 0 ? 0 : scale / l;
    for (int64_t d = 0; d < call.head_dim; ++d) out[d] = sum[d] * factor;
  }
}

void run_tile(const Call& call, const QueryTile& tile, int64_t kv_head, int thread) {
  const int64_t queries = tile.n * call.group;
  const Scratch s = partition(call.context.workspace.scratch(thread), queries, call.head_dim);
  Range all{INT64_MAX, 0};
  for (int32_t r = 0; r < tile.n; ++r) {
    const Range seen = visible(call, tile.seq, tile.first + r);
    if (!seen.empty()) all = {std::min(all.begin, seen.begin), std::max(all.end, seen.end)};
    for (int64_t g = 0; g < call.group; ++g) {
      const int64_t head = kv_head * call.group + g;
      std::copy_n(f32_row(call.op.q, (tile.first + r) * call.n_heads + head), call.head_dim,
                  s.query + (r * call.group + g) * call.head_dim);
    }
  }
  std::fill_n(s.sum, queries * call.head_dim, 0.0f);
  std::fill_n(s.m, queries, -INFINITY);
  std::fill_n(s.l, queries, 0.0f);
  for (int64_t base = all.empty() ? 0 : all.begin / kSegment * kSegment; base < all.end;
       base += kSegment) {
    reduce_segment(call, tile, kv_head, intersect(all, {base, base + kSegment}), s);
  }
  finish(call, tile, kv_head, s);
}

// Cuts the step's rows into tiles of one sequence each. Rows that belong to none are padding.
int64_t make_tiles(const Call& call, int64_t n_rows) {
  const StepView& step = call.step;
  QueryTile* tiles = call.context.workspace.tiles;
  int64_t n_tiles = 0;
  for (int32_t seq = 0; seq < step.n_seqs; ++seq) {
    const int32_t end = i32(step.q_start)[seq + 1];
    LM_CHECK(end <= n_rows);
    for (int32_t row = i32(step.q_start)[seq]; row < end; row += kQueryRows) {
      tiles[n_tiles++] = {seq, row, std::min(kQueryRows, end - row)};
    }
  }
  return n_tiles;
}

}  // namespace

int64_t attention_scratch_floats(const StepLimits& limits) {
  // The largest group is all heads reading one KV head.
  return scratch_floats(int64_t(kQueryRows) * limits.n_heads, limits.head_dim);
}

void attention(const Context& context, const Attention& op, const StepView& step) {
  const Call call{context,
                  op,
                  step,
                  op.q.shape[2],
                  op.k_cache.shape[1],
                  op.q.shape[3],
                  op.q.shape[2] / std::max<int64_t>(op.k_cache.shape[1], 1)};
  const int64_t n = op.q.shape[1];
  LM_CHECK(op.q.dtype == DType::f32 && op.out.dtype == DType::f32 && op.out.shape == op.q.shape);
  LM_CHECK(call.n_heads == call.group * call.n_kv_heads);
  LM_CHECK(op.k_cache.shape == op.v_cache.shape && op.k_cache.dtype == op.v_cache.dtype);
  LM_CHECK(op.k_cache.shape[2] == step.block_size && op.k_cache.shape[3] == call.head_dim);
  LM_CHECK(step.n_tokens == n && n <= context.workspace.limits.max_tokens);
  LM_CHECK(scratch_floats(kQueryRows * call.group, call.head_dim) <=
           context.workspace.thread_floats);
  const int64_t n_tiles = make_tiles(call, n);
  const int64_t used = i32(step.q_start)[step.n_seqs];
  context.pool.parallel_for(n_tiles * call.n_kv_heads, [&](int64_t item, int thread) {
    run_tile(call, context.workspace.tiles[item / call.n_kv_heads], item % call.n_kv_heads, thread);
  });
  for (int64_t row = used * call.n_heads; row < n * call.n_heads; ++row) {
    std::fill_n(f32_row(op.out, row), call.head_dim, 0.0f);
  }
}

}  // namespace lm::cpu
