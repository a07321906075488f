// backends/cpu/attention_tile.h — attention of one tile: a few rows of a sequence and the query
// heads that share a KV head, over one segment of 256 keys at a time. Every query of the tile uses
// the keys and values that were loaded; which queries share a tile changes no bit.
#pragma once
#include <cstdint>

#include "backends/cpu/kv_layout.h"
#include "backends/cpu/ops.h"

namespace lm::cpu {

// What is the same for all tiles of a call.
struct AttentionCall {
  const Context& context;
  const Attention& op;
  const StepView& step;
  int64_t n_heads, n_kv_heads, head_dim, group;
  KvLayoutOfHead layout;
};

// Keys [begin, end) in absolute positions.
struct KeyRange {
  int64_t begin = 0, end = 0;
  bool empty() const { return begin >= end; }
};

// The keys that any row of a tile sees.
KeyRange keys_of_tile(const AttentionCall& call, const QueryTile& tile);

// Queries of a tile, unless one row has more: its scratch stays in the cache of a core.
inline constexpr int64_t kTileQueries = 128;
int32_t rows_per_tile(int64_t group);
// Numbers of scratch that a tile needs.
int64_t tile_scratch_floats(int64_t n_queries, int64_t head_dim);

class TileRun {
 public:
  // `segments` of the tile will be reduced, in order.
  TileRun(const AttentionCall& call, const QueryTile& tile, int64_t kv_head, KeyRange segments,
          float* scratch);

  int n_queries() const { return n_queries_; }
  // Reduces the keys of a segment for every query, from (-inf, 0, 0).
  void reduce(int64_t segment);
  // What reduce() found for query i; l = 0 where it sees none of those keys.
  const SoftmaxPart& part(int i) const { return parts_[i]; }
  const float* sum(int i) const { return sums_ + i * call_.head_dim; }
  // Adds a part to query i's state, and writes the row of the output: in the order of segments.
  void merge(int i, SoftmaxPart part, const float* sum);
  void finish(int i);

 private:
  // Keys [begin, end) of the segment.
  struct Span {
    int begin, end;
    bool empty() const { return begin >= end; }
    bool operator==(const Span&) const = default;
  };
  // Consecutive queries that one kernel call carries.
  struct Micro {
    int first, n;
  };
  template <class Use>
  void for_each_micro(const Use& use);
  void pack_queries();
  const std::byte* head_at(const Tensor& cache, int64_t index, int64_t head) const;
  const std::byte* keys_after(int64_t key) const;
  void collect_runs(KeyRange keys, int64_t base);
  void gather_keys();
  void gather_run(const KvRun& run);
  void widen_values();
  void score();
  void fetch_early(const KvRun& run);
  void soften(int i);
  void weigh(const Micro& micro);
  void add_values(int first, int n, Span keys);

  const AttentionCall& call_;
  QueryTile tile_;
  KeyRange keys_of_tile_;
  int64_t kv_head_;
  bool takes_all_;      // segments of the tile
  int64_t end_of_run_;  // first key behind those that will be reduced
  int n_queries_;
  bool wide_;            // many queries: keys and values are widened to f32 once
  bool scattered_;       // keys don't lie in whole vectors: they are gathered first
  float* keys_;          // [256 / 32][head_dim][32]  gathered keys
  float* values_;        // [256][head_dim]  widened values
  float* scores_;        // [queries, 256]
  float* queries_;       // [queries, head_dim]  packed for the kernels, micro tile by micro tile
  float* totals_;        // [queries, head_dim]  Σ exp(s - m) v so far
  float* sums_;          // [queries, head_dim]  the same over the current segment
  float* factors_;       // [queries]
  SoftmaxPart* states_;  // [queries]  of totals
  SoftmaxPart* parts_;   // [queries]  of sums
  Span* spans_;          // [queries]  the keys of the segment that a query sees
  int n_runs_ = 0;       // of the segment
  KvRun k_runs_[kSegment];
  int n_k_runs_ = 0;
  KvRun v_runs_[kSegment];
};

}  // namespace lm::cpu
