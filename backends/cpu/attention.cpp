// Attention over the paged cache, as an online softmax (arXiv:1805.02867): keys are reduced in
// segments of 256 at absolute positions, each from (-inf, 0, 0), and merged in order. Where there
// are fewer tiles than keep the threads busy, segments go to different threads: their parts are
// kept, and merged in the same order.
#include <algorithm>

#include "backends/cpu/attention_tile.h"
#include "backends/cpu/ops.h"
#include "engine/core/check.h"

namespace lm::cpu {
namespace {

constexpr int64_t kPiecesPerThread = 4;  // enough that one late thread is not waited for
constexpr int64_t kLeastSegments = 2;    // of a piece: less is not worth waking a thread for

// Cuts the step's rows into tiles of one sequence each. Rows that belong to none are padding.
int64_t make_tiles(const AttentionCall& call, int64_t n_rows) {
  const StepView& step = call.step;
  QueryTile* tiles = call.context.workspace.tiles;
  const int32_t most = rows_per_tile(call.group);
  int64_t n_tiles = 0;
  for (int32_t seq = 0; seq < step.n_seqs; ++seq) {
    const int32_t end = i32(step.q_start)[seq + 1];
    LM_CHECK(end <= n_rows);
    for (int32_t row = i32(step.q_start)[seq]; row < end; row += most) {
      QueryTile& tile = tiles[n_tiles++];
      tile = {.seq = seq, .first = row, .n = std::min(most, end - row)};
      const KeyRange keys = keys_of_tile(call, tile);
      tile.first_segment = int32_t(keys.begin / kSegment);
      tile.n_segments = int32_t((keys.end + kSegment - 1) / kSegment) - tile.first_segment;
      if (keys.empty()) tile.n_segments = 0;
    }
  }
  return n_tiles;
}

// Whether segments are spread over threads, and how many go together.
struct Split {
  int64_t segments_per_piece = 0;  // 0: a tile stays whole
  int64_t n_pieces = 0;            // of one KV head
};

// Fills in where each tile's pieces and parts begin.
Split split_tiles(const AttentionCall& call, int64_t n_tiles) {
  const Workspace& workspace = call.context.workspace;
  const int64_t threads = call.context.pool.size();
  if (threads == 1 || n_tiles * call.n_kv_heads >= kPiecesPerThread * threads) return {};
  int64_t segments = 0, longest = 0, parts = 0;
  for (int64_t t = 0; t < n_tiles; ++t) {
    QueryTile& tile = workspace.tiles[t];
    tile.first_part = parts;
    segments += tile.n_segments;
    longest = std::max<int64_t>(longest, tile.n_segments);
    parts += int64_t(tile.n_segments) * tile.n * call.n_heads;
  }
  const int64_t pieces = kPiecesPerThread * threads;
  const int64_t together =
      std::max((segments * call.n_kv_heads + pieces - 1) / pieces, kLeastSegments);
  if (together >= longest || parts * part_floats(call.head_dim) > workspace.part_floats) return {};
  Split split{.segments_per_piece = together};
  for (int64_t t = 0; t < n_tiles; ++t) {
    QueryTile& tile = workspace.tiles[t];
    tile.first_piece = split.n_pieces;
    split.n_pieces += (tile.n_segments + together - 1) / together;
  }
  return split;
}

void finish(TileRun& run) {
  for (int i = 0; i < run.n_queries(); ++i) run.finish(i);
}

void run_whole(const AttentionCall& call, const QueryTile& tile, int64_t kv_head, float* scratch) {
  TileRun run(call, tile, kv_head, {0, tile.n_segments}, scratch);
  for (int32_t s = 0; s < tile.n_segments; ++s) {
    run.reduce(tile.first_segment + s);
    for (int i = 0; i < run.n_queries(); ++i) run.merge(i, run.part(i), run.sum(i));
  }
  finish(run);
}

// The part of query i over the tile's s-th segment: m, l and the sum.
float* part_at(const AttentionCall& call, const QueryTile& tile, int64_t kv_head, int64_t s,
               int64_t i) {
  const int64_t n_queries = tile.n * call.group;
  const int64_t segment = tile.n_segments * kv_head + s;
  return call.context.workspace.parts +
         (tile.first_part + segment * n_queries + i) * part_floats(call.head_dim);
}

void run_piece(const AttentionCall& call, const QueryTile& tile, int64_t kv_head, KeyRange segments,
               float* scratch) {
  TileRun run(call, tile, kv_head, segments, scratch);
  for (int64_t s = segments.begin; s < segments.end; ++s) {
    run.reduce(tile.first_segment + s);
    for (int i = 0; i < run.n_queries(); ++i) {
      float* part = part_at(call, tile, kv_head, s, i);
      part[0] = run.part(i).m;
      part[1] = run.part(i).l;
      if (part[1] != 0) std::copy_n(run.sum(i), call.head_dim, part + 2);
    }
  }
}

void merge_pieces(const AttentionCall& call, const QueryTile& tile, int64_t kv_head,
                  float* scratch) {
  TileRun run(call, tile, kv_head, {}, scratch);
  for (int32_t s = 0; s < tile.n_segments; ++s) {
    for (int i = 0; i < run.n_queries(); ++i) {
      const float* part = part_at(call, tile, kv_head, s, i);
      run.merge(i, {part[0], part[1]}, part + 2);
    }
  }
  finish(run);
}

void run_split(const AttentionCall& call, int64_t n_tiles, const Split& split) {
  const Workspace& workspace = call.context.workspace;
  const QueryTile* tiles = workspace.tiles;
  call.context.pool.parallel_for(split.n_pieces * call.n_kv_heads, [&](int64_t item, int thread) {
    const int64_t piece = item % split.n_pieces;
    const QueryTile* tile =
        std::upper_bound(tiles, tiles + n_tiles, piece,
                         [](int64_t p, const QueryTile& t) { return p < t.first_piece; }) -
        1;
    const int64_t begin = (piece - tile->first_piece) * split.segments_per_piece;
    const int64_t end = std::min<int64_t>(begin + split.segments_per_piece, tile->n_segments);
    run_piece(call, *tile, item / split.n_pieces, {begin, end}, workspace.scratch(thread));
  });
  call.context.pool.parallel_for(n_tiles * call.n_kv_heads, [&](int64_t item, int thread) {
    merge_pieces(call, tiles[item / call.n_kv_heads], item % call.n_kv_heads,
                 workspace.scratch(thread));
  });
}

}  // namespace

int64_t attention_scratch_floats(const StepLimits& limits) {
  // The largest group is all heads reading one KV head.
  return tile_scratch_floats(std::max<int64_t>(kTileQueries, limits.n_heads), limits.head_dim);
}

void attention(const Context& context, const Attention& op, const StepView& step) {
  const AttentionCall call{context,
                           op,
                           step,
                           op.q.shape[2],
                           op.k_cache.shape[1],
                           op.q.shape[3],
                           op.q.shape[2] / std::max<int64_t>(op.k_cache.shape[1], 1),
                           layout_of(op.k_cache)};
  const int64_t n = op.q.shape[1];
  LM_CHECK(op.q.dtype == DType::f32 && op.out.dtype == DType::f32 && op.out.shape == op.q.shape);
  LM_CHECK(call.group > 0 && call.n_heads == call.group * call.n_kv_heads);
  LM_CHECK(op.k_cache.shape == op.v_cache.shape && op.k_cache.dtype == op.v_cache.dtype);
  LM_CHECK(op.k_cache.shape[2] == step.block_size && op.k_cache.shape[3] == call.head_dim);
  LM_CHECK(op.k_cache.row_bytes == int64_t(row_bytes(op.k_cache.dtype, call.head_dim)));
  LM_CHECK(step.n_tokens == n && n <= context.workspace.limits.max_tokens);
  LM_CHECK(tile_scratch_floats(rows_per_tile(call.group) * call.group, call.head_dim) <=
           context.workspace.thread_floats);
  const int64_t n_tiles = make_tiles(call, n);
  const int64_t used = i32(step.q_start)[step.n_seqs];
  const Split split = split_tiles(call, n_tiles);
  if (split.n_pieces > 0) {
    run_split(call, n_tiles, split);
  } else {
    context.pool.parallel_for(n_tiles * call.n_kv_heads, [&](int64_t item, int thread) {
      run_whole(call, context.workspace.tiles[item / call.n_kv_heads], item % call.n_kv_heads,
                context.workspace.scratch(thread));
    });
  }
  for (int64_t row = used * call.n_heads; row < n * call.n_heads; ++row) {
    std::fill_n(f32_row(op.out, row), call.head_dim, 0.0f);
  }
}

}  // namespace lm::cpu
