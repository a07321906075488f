#include "backends/cpu/attention_tile.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/core/check.h"

namespace lm::cpu {
namespace {

constexpr int kWideQueries = 24;  // from which on widening f16 once costs less than in each kernel
constexpr int64_t kEarlyBytes = 1024;  // a query: 16 lines, which a core can wait for at once
constexpr int kPanel = 32;             // keys of a gathered panel: whole vectors of any table

KeyRange intersect(KeyRange a, KeyRange b) {
  return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

KeyRange keys_of_row(const AttentionCall& call, int32_t seq, int64_t row) {
  const int64_t position = i32(call.step.positions)[row];
  const int64_t end = std::min<int64_t>(position + 1, i32(call.step.kv_len)[seq]);
  const int64_t begin = call.op.window > 0 ? position - call.op.window + 1 : 0;
  return {std::max<int64_t>(begin, 0), end};
}

const uint8_t* bytes_of(const std::byte* p) {
  return reinterpret_cast<const uint8_t*>(p);
}

// Gathered keys lie like a block of 32.
KvLayoutOfHead panel_layout(const KvLayoutOfHead& layout) {
  return {layout.dtype == DType::q8_0 ? DType::q8_0 : DType::f32, kPanel, layout.head_dim};
}

}  // namespace

KeyRange keys_of_tile(const AttentionCall& call, const QueryTile& tile) {
  KeyRange all{INT64_MAX, 0};
  for (int32_t r = 0; r < tile.n; ++r) {
    const KeyRange keys = keys_of_row(call, tile.seq, tile.first + r);
    if (!keys.empty()) all = {std::min(all.begin, keys.begin), std::max(all.end, keys.end)};
  }
  return all.empty() ? KeyRange{} : all;
}

int32_t rows_per_tile(int64_t group) {
  return int32_t(std::max<int64_t>(kTileQueries / group, 1));
}

int64_t tile_scratch_floats(int64_t n_queries, int64_t head_dim) {
  return n_queries * (3 * head_dim + kSegment + 7) + 2 * kSegment * head_dim;
}

TileRun::TileRun(const AttentionCall& call, const QueryTile& tile, int64_t kv_head,
                 KeyRange segments, float* scratch)
    : call_(call),
      tile_(tile),
      keys_of_tile_(keys_of_tile(call, tile)),
      kv_head_(kv_head),
      takes_all_(segments.begin == 0 && segments.end == tile.n_segments),
      end_of_run_(std::min(keys_of_tile_.end, (tile.first_segment + segments.end) * kSegment)),
      n_queries_(int(tile.n * call.group)),
      wide_(n_queries_ >= kWideQueries),
      scattered_(call.layout.block_size % call.context.kernels.lanes != 0) {
  const int64_t numbers = n_queries_ * call.head_dim;
  keys_ = scratch;
  values_ = keys_ + kSegment * call.head_dim;
  scores_ = values_ + kSegment * call.head_dim;
  queries_ = scores_ + int64_t(n_queries_) * kSegment;
  totals_ = queries_ + numbers;
  sums_ = totals_ + numbers;
  factors_ = sums_ + numbers;
  states_ = reinterpret_cast<SoftmaxPart*>(factors_ + n_queries_);
  parts_ = states_ + n_queries_;
  spans_ = reinterpret_cast<Span*>(parts_ + n_queries_);
  pack_queries();
  std::fill_n(totals_, numbers, 0.0f);
  std::fill_n(states_, n_queries_, SoftmaxPart{-INFINITY, 0});
}

template <class Use>
void TileRun::for_each_micro(const Use& use) {
  const int most = call_.context.kernels.max_queries;
  for (int first = 0; first < n_queries_; first += most) {
    use(Micro{first, std::min(most, n_queries_ - first)});
  }
}

// Dimension by dimension, so that a kernel reads one stream of queries; for q8_0 as pairs of 16-bit
// numbers with a factor.
void TileRun::pack_queries() {
  const int64_t head_dim = call_.head_dim;
  for_each_micro([&](const Micro& micro) {
    float* packed = queries_ + micro.first * head_dim;
    for (int i = 0; i < micro.n; ++i) {
      const int64_t query = micro.first + i;
      const int64_t row = tile_.first + query / call_.group;
      const int64_t head = kv_head_ * call_.group + query % call_.group;
      const float* x = f32_row(call_.op.q, row * call_.n_heads + head);
      factors_[query] = call_.op.scale;
      if (call_.layout.dtype != DType::q8_0) {
        for (int64_t d = 0; d < head_dim; ++d) packed[d * micro.n + i] = x[d];
        continue;
      }
      int16_t* integers = reinterpret_cast<int16_t*>(scores_);  // not in use yet
      factors_[query] *= call_.context.kernels.quantize_query(x, head_dim, integers);
      for (int64_t d = 0; d < head_dim / 2; ++d) {
        std::memcpy(packed + d * micro.n + i, integers + 2 * d, 4);
      }
    }
  });
}

// The bytes of a head in the index-th block of the sequence; null where it has no such block.
const std::byte* TileRun::head_at(const Tensor& cache, int64_t index, int64_t head) const {
  const Tensor& table = call_.step.block_table;
  if (index >= table.cols() || head >= call_.n_kv_heads) return nullptr;
  const int64_t block = i32(table)[tile_.seq * (table.row_bytes / 4) + index];
  if (block < 0) return nullptr;
  LM_CHECK(block < cache.shape[0]);
  return cache.data() + (block * call_.n_kv_heads + head) * call_.layout.bytes();
}

// What a thread reads after the values of `key`: keys of the next segment, or behind the last one,
// if it had all of them, those of the first in the head that it takes next when threads take turns.
// Null: nothing that is known.
const std::byte* TileRun::keys_after(int64_t key) const {
  const KvLayoutOfHead& layout = call_.layout;
  int64_t next = key + kSegment, head = kv_head_;
  if (next >= end_of_run_) {
    if (!takes_all_) return nullptr;
    next = keys_of_tile_.begin / kSegment * kSegment + key % kSegment;
    head += call_.context.pool.size();
  }
  const std::byte* k = head_at(call_.op.k_cache, next / layout.block_size, head);
  return k == nullptr ? nullptr : k + layout.bytes_before(next % layout.block_size);
}

// The runs of keys and values that hold `keys`. While keys are multiplied, their values are fetched
// (a line each time that a line of keys is used), and while values are added, the keys after them:
// a thread seldom waits for memory.
void TileRun::collect_runs(KeyRange keys, int64_t base) {
  const KvLayoutOfHead& layout = call_.layout;
  n_runs_ = 0;
  for (int64_t key = keys.begin; key < keys.end; ++n_runs_) {
    const int64_t index = key / layout.block_size, token = key % layout.block_size;
    const int first = int(key - base);
    const int n = int(std::min(layout.block_size - token, keys.end - key));
    const std::byte* k = head_at(call_.op.k_cache, index, kv_head_);
    const std::byte* v = head_at(call_.op.v_cache, index, kv_head_);
    LM_CHECK(k != nullptr && v != nullptr);
    const std::byte* soon = v + layout.bytes_before(token);
    const std::byte* after = keys_after(key);
    k_runs_[n_runs_] = {bytes_of(k + layout.key(0, token)), bytes_of(k + layout.scale(0, token)),
                        bytes_of(soon), first, n};
    v_runs_[n_runs_] = {bytes_of(v + layout.value(token)), bytes_of(v + layout.scale(0, token)),
                        bytes_of(after != nullptr ? after : soon), first, n};
    key += n;
  }
  n_k_runs_ = n_runs_;
}

// The same keys in scratch, in panels of 32: whole vectors, widened to f32 unless they are q8_0.
void TileRun::gather_keys() {
  const KvLayoutOfHead panel = panel_layout(call_.layout);
  for (int r = 0; r < n_runs_; ++r) gather_run(k_runs_[r]);
  const int first = k_runs_[0].first / kPanel;
  const int last = (k_runs_[n_runs_ - 1].first + k_runs_[n_runs_ - 1].n + kPanel - 1) / kPanel;
  n_k_runs_ = 0;
  for (int p = first; p < last; ++p) {
    const uint8_t* base = reinterpret_cast<const uint8_t*>(keys_ + p * kPanel * call_.head_dim);
    k_runs_[n_k_runs_++] = {base + panel.key(0, 0), base, base, p * kPanel, kPanel};
  }
}

void TileRun::gather_run(const KvRun& run) {
  const KvLayoutOfHead &layout = call_.layout, panel = panel_layout(layout);
  const Kernels& kernels = call_.context.kernels;
  for (int done = 0, n = 0; done < run.n; done += n) {
    const int key = run.first + done, token = key % kPanel;
    n = std::min(kPanel - token, run.n - done);
    float* base = keys_ + (key - token) * layout.head_dim;
    const uint8_t* from = run.data + done * layout.key_item_bytes();
    if (layout.dtype == DType::f16 && layout.block_size == kPanel && n == kPanel) {
      kernels.f16_to_f32(from, n * layout.head_dim, base);  // the whole block at once
      continue;
    }
    std::byte* bytes = reinterpret_cast<std::byte*>(base);
    for (int64_t row = 0; row < layout.key_rows(); ++row) {
      const uint8_t* source = from + row * layout.block_size * layout.key_item_bytes();
      if (layout.dtype == DType::f16) {
        kernels.f16_to_f32(source, n, base + row * kPanel + token);
      } else {
        std::memcpy(bytes + panel.key(row, token), source, size_t(n * layout.key_item_bytes()));
      }
    }
    if (layout.dtype != DType::q8_0) continue;
    for (int64_t b = 0; b < layout.head_dim / 32; ++b) {
      std::memcpy(bytes + panel.scale(b, token), run.scales + layout.scale(b, done), size_t(n) * 2);
    }
  }
}

void TileRun::widen_values() {
  const Kernels& kernels = call_.context.kernels;
  const auto widen = call_.layout.dtype == DType::f16 ? kernels.f16_to_f32 : kernels.i8_to_f32;
  for (int r = 0; r < n_runs_; ++r) {
    KvRun& run = v_runs_[r];
    float* rows = values_ + run.first * call_.head_dim;
    widen(run.data, run.n * call_.head_dim, rows);
    run.data = run.prefetch = reinterpret_cast<const uint8_t*>(rows);
  }
}

// Runs before queries: a run of keys stays in the nearest cache for all of them. Where one kernel
// call carries all queries, it takes all runs.
void TileRun::score() {
  const Kernels& kernels = call_.context.kernels;
  const bool gathered = scattered_ || (wide_ && call_.layout.dtype == DType::f16);
  if (gathered) gather_keys();
  const DType dtype = call_.layout.dtype;
  const auto kernel = dtype == DType::q8_0               ? kernels.scores_q8_0
                      : dtype == DType::f16 && !gathered ? kernels.scores_f16
                                                         : kernels.scores_f32;
  const int together = n_queries_ > kernels.max_queries ? 1 : n_k_runs_;
  for (int r = 0; r < n_k_runs_; r += together) {
    const int begin = k_runs_[r].first;
    const int end = k_runs_[r + together - 1].first + k_runs_[r + together - 1].n;
    for_each_micro([&](const Micro& micro) {
      const auto sees_run = [&](const Span& span) {
        return !span.empty() && span.begin < end && begin < span.end;
      };
      if (!std::any_of(spans_ + micro.first, spans_ + micro.first + micro.n, sees_run)) return;
      kernel({.queries = queries_ + micro.first * call_.head_dim,
              .n_queries = micro.n,
              .head_dim = int(call_.head_dim),
              .keys = k_runs_ + r,
              .n_keys = together,
              .stride = gathered ? kPanel : call_.layout.block_size,
              .factors = factors_ + micro.first,
              .out = scores_ + int64_t(micro.first) * kSegment});
    });
  }
}

// Memory would rest while exponentials are computed: the beginning of what the values' pass asks
// for is asked for now.
void TileRun::fetch_early(const KvRun& run) {
  const int64_t bytes = run.n * int64_t(row_bytes(call_.layout.dtype, call_.head_dim));
  for (int64_t b = 0; b < std::min(bytes, kEarlyBytes); b += 64) {
    __builtin_prefetch(run.prefetch + b, 0, 2);
  }
}

// Scores become exp(s - m). Lanes whose key the query does not see become 0, whatever they hold.
void TileRun::soften(int i) {
  const Kernels& kernels = call_.context.kernels;
  const Span span = spans_[i];
  parts_[i] = {-INFINITY, 0};
  if (span.empty()) return;
  float* row = scores_ + int64_t(i) * kSegment;
  const int begin = span.begin / kernels.lanes * kernels.lanes;
  const int end = (span.end + kernels.lanes - 1) / kernels.lanes * kernels.lanes;
  if (call_.op.softcap > 0) kernels.soft_cap(row + begin, end - begin, call_.op.softcap);
  if (!wide_ && i < n_runs_) fetch_early(v_runs_[i]);
  std::fill(row + begin, row + span.begin, -INFINITY);
  std::fill(row + span.end, row + end, -INFINITY);
  parts_[i] = kernels.softmax_part(row + begin, end - begin);
}

void TileRun::add_values(int first, int n, Span keys) {
  if (keys.empty()) return;
  const Kernels& kernels = call_.context.kernels;
  const DType dtype = call_.layout.dtype;
  const auto kernel = dtype == DType::f32 || wide_ ? kernels.weighted_sums_f32
                      : dtype == DType::f16        ? kernels.weighted_sums_f16
                                                   : kernels.weighted_sums_i8;
  kernel({.weights = scores_ + int64_t(first) * kSegment,
          .n_queries = n,
          .head_dim = int(call_.head_dim),
          .values = v_runs_,
          .n_values = n_runs_,
          .first = keys.begin,
          .last = keys.end,
          .stride = dtype == DType::q8_0 ? call_.layout.block_size : 0,
          .acc = sums_ + first * call_.head_dim});
}

// The keys that all queries see are added together; those before and behind them (a window's
// beginning, the rows' own tokens) for each row alone, so that no row meets a key it does not see.
void TileRun::weigh(const Micro& micro) {
  const Span* end = spans_ + micro.first + micro.n;
  Span common{0, kSegment};
  for (const Span* s = spans_ + micro.first; s < end; ++s) {
    common = {std::max(common.begin, s->begin), std::min(common.end, s->end)};
  }
  if (common.empty()) common = {0, 0};
  const auto for_each_row = [&](const auto& keys_of) {
    for (const Span* s = spans_ + micro.first; s < end;) {
      const Span* next = std::find_if(s, end, [&](const Span& other) { return !(other == *s); });
      if (!s->empty()) add_values(int(s - spans_), int(next - s), keys_of(*s));
      s = next;
    }
  };
  for_each_row([&](Span s) { return Span{s.begin, std::min(common.begin, s.end)}; });
  add_values(micro.first, micro.n, common);
  for_each_row([&](Span s) { return Span{std::max(common.end, s.begin), s.end}; });
}

void TileRun::reduce(int64_t segment) {
  const int64_t base = segment * kSegment, lanes = call_.context.kernels.lanes;
  for (int i = 0; i < n_queries_; ++i) {
    const KeyRange seen = keys_of_row(call_, tile_.seq, tile_.first + i / call_.group);
    spans_[i] = {int(std::clamp<int64_t>(seen.begin - base, 0, kSegment)),
                 int(std::clamp<int64_t>(seen.end - base, 0, kSegment))};
  }
  KeyRange keys = intersect(keys_of_tile_, {base, base + kSegment});
  if (!keys.empty()) {
    if (!scattered_) {  // whole vectors, which stay within their blocks
      keys = {keys.begin / lanes * lanes, (keys.end + lanes - 1) / lanes * lanes};
    }
    collect_runs(keys, base);
    score();
  }
  for (int i = 0; i < n_queries_; ++i) soften(i);
  if (keys.empty()) return;
  if (wide_ && call_.layout.dtype != DType::f32) widen_values();
  std::fill_n(sums_, n_queries_ * call_.head_dim, 0.0f);
  for_each_micro([&](const Micro& micro) { weigh(micro); });
}

void TileRun::merge(int i, SoftmaxPart part, const float* sum) {
  if (part.l == 0) return;  // no keys
  const Kernels& kernels = call_.context.kernels;
  SoftmaxPart& state = states_[i];
  const float m = std::max(state.m, part.m);
  const float old_weight = state.m == m ? 1.0f : kernels.exp(state.m - m);
  const float weight = part.m == m ? 1.0f : kernels.exp(part.m - m);
  kernels.scale_add(totals_ + i * call_.head_dim, old_weight, sum, weight, call_.head_dim);
  state = {m, state.l * old_weight + part.l * weight};
}

// out = total / l, with the sink as one more term of l.
void TileRun::finish(int i) {
  const Kernels& kernels = call_.context.kernels;
  const int64_t head = kv_head_ * call_.group + i % call_.group;
  float scale = 1, l = states_[i].l;
  if (call_.op.sinks) {
    const float sink = f32(call_.op.sinks)[head];
    const float m = std::max(states_[i].m, sink);
    scale = kernels.exp(states_[i].m - m);
    l = l * scale + kernels.exp(sink - m);
  }
  float* out = f32_row(call_.op.out, (tile_.first + i / call_.group) * call_.n_heads + head);
  const float* total = totals_ + i * call_.head_dim;
  const float factor = l == 0 ? 0 : scale / l;
  for (int64_t d = 0; d < call_.head_dim; ++d) out[d] = total[d] * factor;
}

}  // namespace lm::cpu
