// Attention of new rows over a paged cache: bytes of K and V and operations a second. As between
// two tokens of a model, each call meets a cache that lies in memory alone: layers take turns.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <numeric>
#include <string>

#include "tests/bench/room.h"

namespace lm::bench {
namespace {

constexpr int64_t kColdBytes = int64_t{600} << 20;  // more than a cache holds

// One sequence whose last `rows` of kv_len tokens are new; its blocks lie in order.
StepView view_of(Room& room, int rows, int kv_len, int block_size) {
  const int n_blocks = (kv_len + block_size - 1) / block_size;
  std::vector<int32_t> positions(static_cast<size_t>(rows)), blocks(static_cast<size_t>(n_blocks));
  std::iota(positions.begin(), positions.end(), kv_len - rows);
  std::iota(blocks.begin(), blocks.end(), 0);
  return {.n_tokens = rows,
          .n_seqs = 1,
          .block_size = block_size,
          .token_ids = room.ints({1, 1, 1, rows}, positions),
          .positions = room.ints({1, 1, 1, rows}, positions),
          .slots = room.ints({1, 1, 1, rows}, positions),
          .q_start = room.ints({1, 1, 1, 2}, {0, rows}),
          .kv_len = room.ints({1, 1, 1, 1}, {kv_len}),
          .block_table = room.ints({1, 1, 1, n_blocks}, blocks)};
}

void attention(benchmark::State& state, DType kv_type) {
  Room room;
  const int rows = int(state.range(0)), kv_len = int(state.range(1));
  const int block_size = int(state.range(2));
  const StepView step = view_of(room, rows, kv_len, block_size);
  const int64_t n_blocks = (kv_len + block_size - 1) / block_size, head_dim = state.range(3);
  const std::array<int64_t, 4> shape = {n_blocks, kKvHeads, block_size, head_dim};
  const int64_t bytes = 2 * kv_len * kKvHeads * int64_t(row_bytes(kv_type, head_dim));
  std::vector<Tensor> k_caches, v_caches;
  const Tensor q = room.numbers({1, rows, kHeads, head_dim});
  const Tensor out = room.tensor({1, rows, kHeads, head_dim});
  const Tensor kv = room.numbers({1, kMaxTokens, kKvHeads, head_dim});
  for (int64_t used = 0; used < kColdBytes; used += bytes) {
    k_caches.push_back(room.tensor(shape, kv_type));
    v_caches.push_back(room.tensor(shape, kv_type));
  }
  for (int first = 0; first < kv_len; first += kMaxTokens) {  // fills the cache
    const int n = std::min(kMaxTokens, kv_len - first);
    StepView fill = view_of(room, n, first + n, block_size);
    Tensor part = kv;
    part.shape[1] = n;
    for (size_t i = 0; i < k_caches.size(); ++i) {
      room->kv_write({.k = part, .v = part, .k_cache = k_caches[i], .v_cache = v_caches[i]}, fill);
    }
  }
  size_t layer = 0;
  for ([[maybe_unused]] auto _ : state) {
    layer = (layer + 1) % k_caches.size();
    room->attention(
        {.q = q, .k_cache = k_caches[layer], .v_cache = v_caches[layer], .out = out, .scale = 0.1f},
        step);
  }
  state.SetBytesProcessed(state.iterations() * bytes);
  const double pairs = double(rows) * (kv_len - (rows - 1) / 2.0);
  state.counters["flops"] =
      benchmark::Counter(double(state.iterations()) * pairs * 4 * kHeads * double(head_dim),
                         benchmark::Counter::kIsRate);
}

const bool kRegistered = [] {
  for (const DType type : {DType::f32, DType::f16, DType::q8_0}) {
    const std::string name = "attention/" + std::string(dtype_name(type));
    benchmark::RegisterBenchmark(name.c_str(), attention, type)
        ->ArgNames({"rows", "kv_len", "block", "head_dim"})
        ->Args({1, 512, 32, 64})
        ->Args({1, 4096, 32, 64})
        ->Args({1, 4096, 512, 64})  // blocks that hardly show
        ->Args({1, 4096, 32, 128})
        ->Args({1, 32768, 32, 128})
        ->Args({512, 512, 32, 64})
        ->Args({512, 4096, 32, 64})
        ->Args({512, 4096, 32, 128})
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
  }
  return true;
}();

}  // namespace
}  // namespace lm::bench
