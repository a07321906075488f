// Attention of new rows over a paged cache: bytes of K and V and operations a second. As between
// two tokens of a model, each call meets a cache that lies in memory alone: layers take turns.
// paging/*: what it costs that the blocks of a sequence lie anywhere in the pool.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <random>
#include <string>

#include "tests/bench/room.h"

namespace lm::bench {
namespace {

constexpr int64_t kColdBytes = int64_t{600} << 20;  // more than a cache holds

enum class Place {
  in_order,    // block i of the sequence is block i of the pool
  scattered,   // it is any: a pool after much use
  contiguous,  // no pages: all keys of a head lie in one piece, as do its values
};

struct Shape {
  int rows, kv_len, block_size;
  int64_t head_dim;
  Place place = Place::in_order;
  int n_blocks() const { return (kv_len + block_size - 1) / block_size; }
};

std::vector<int32_t> ascending(int n, int first = 0) {
  std::vector<int32_t> numbers(static_cast<size_t>(n));
  std::iota(numbers.begin(), numbers.end(), first);
  return numbers;
}

// One sequence whose last `rows` of kv_len tokens are new.
StepView view_of(Room& room, const Shape& shape) {
  const std::vector<int32_t> positions = ascending(shape.rows, shape.kv_len - shape.rows);
  std::vector<int32_t> blocks = ascending(shape.n_blocks());
  if (shape.place == Place::scattered) {
    std::shuffle(blocks.begin(), blocks.end(), std::mt19937(1));
  }
  return {.n_tokens = shape.rows,
          .n_seqs = 1,
          .block_size = shape.block_size,
          .token_ids = room.ints({1, 1, 1, shape.rows}, positions),
          .positions = room.ints({1, 1, 1, shape.rows}, positions),
          .slots = room.ints({1, 1, 1, shape.rows}, positions),
          .q_start = room.ints({1, 1, 1, 2}, {0, shape.rows}),
          .kv_len = room.ints({1, 1, 1, 1}, {shape.kv_len}),
          .block_table = room.ints({1, 1, 1, shape.n_blocks()}, blocks)};
}

// The same work for one row as a sequence for each KV head, which has its blocks one after another.
StepView view_of_heads(Room& room, const Shape& shape) {
  const Tensor last =
      room.ints({1, 1, 1, kKvHeads}, std::vector<int32_t>(kKvHeads, shape.kv_len - 1));
  const int n_blocks = shape.n_blocks();
  return {.n_tokens = kKvHeads,
          .n_seqs = kKvHeads,
          .block_size = shape.block_size,
          .token_ids = last,
          .positions = last,
          .slots = last,
          .q_start = room.ints({1, 1, 1, kKvHeads + 1}, ascending(kKvHeads + 1)),
          .kv_len = room.ints({1, 1, 1, kKvHeads}, std::vector<int32_t>(kKvHeads, shape.kv_len)),
          .block_table = room.ints({1, 1, kKvHeads, n_blocks}, ascending(kKvHeads * n_blocks))};
}

struct Layer {
  Tensor k, v;
};

// Layers of `layer_bytes` whose keys and values are written.
std::vector<Layer> fill_layers(Room& room, const Shape& shape, DType kv_type, int64_t layer_bytes) {
  std::vector<Layer> layers;
  const std::array<int64_t, 4> cache = {shape.n_blocks(), kKvHeads, shape.block_size,
                                        shape.head_dim};
  for (int64_t used = 0; used < kColdBytes; used += layer_bytes) {
    layers.push_back({room.tensor(cache, kv_type), room.tensor(cache, kv_type)});
  }
  Tensor part = room.numbers({1, kMaxTokens, kKvHeads, shape.head_dim});
  for (int first = 0; first < shape.kv_len; first += kMaxTokens) {
    Shape filled = shape;
    filled.rows = std::min(kMaxTokens, shape.kv_len - first);
    filled.kv_len = first + filled.rows;
    const StepView step = view_of(room, filled);
    part.shape[1] = filled.rows;
    for (const Layer& layer : layers) {
      room->kv_write({.k = part, .v = part, .k_cache = layer.k, .v_cache = layer.v}, step);
    }
  }
  return layers;
}

void run(benchmark::State& state, DType kv_type, const Shape& shape) {
  Room room;
  const int64_t bytes = 2 * shape.kv_len * kKvHeads * int64_t(row_bytes(kv_type, shape.head_dim));
  std::vector<Layer> layers = fill_layers(room, shape, kv_type, bytes);
  Tensor q = room.numbers({1, shape.rows, kHeads, shape.head_dim});
  Tensor out = room.tensor(q.shape);
  const bool paged = shape.place != Place::contiguous;
  const StepView step = paged ? view_of(room, shape) : view_of_heads(room, shape);
  if (!paged) {
    q.shape = out.shape = {1, kKvHeads, kHeads / kKvHeads, shape.head_dim};
    for (Layer& layer : layers) {
      layer.k.shape[0] = layer.v.shape[0] = kKvHeads * int64_t(shape.n_blocks());
      layer.k.shape[1] = layer.v.shape[1] = 1;
    }
  }
  size_t next = 0;
  for ([[maybe_unused]] auto _ : state) {
    const Layer& layer = layers[next++ % layers.size()];
    room->attention({.q = q, .k_cache = layer.k, .v_cache = layer.v, .out = out, .scale = 0.1f},
                    step);
  }
  state.SetBytesProcessed(state.iterations() * bytes);
  const double pairs = double(shape.rows) * (shape.kv_len - (shape.rows - 1) / 2.0);
  state.counters["flops"] =
      benchmark::Counter(double(state.iterations()) * pairs * 4 * kHeads * double(shape.head_dim),
                         benchmark::Counter::kIsRate);
}

void attention(benchmark::State& state, DType kv_type) {
  run(state, kv_type,
      {.rows = int(state.range(0)),
       .kv_len = int(state.range(1)),
       .block_size = int(state.range(2)),
       .head_dim = state.range(3)});
}

void paging(benchmark::State& state, DType kv_type, Place place) {
  run(state, kv_type,
      {.rows = 1, .kv_len = int(state.range(0)), .block_size = 32, .head_dim = 64, .place = place});
}

void register_paging(DType type, const char* where, Place place) {
  const std::string name = "paging/" + std::string(dtype_name(type)) + "/" + where;
  benchmark::RegisterBenchmark(name.c_str(), paging, type, place)
      ->ArgName("kv_len")
      ->Arg(4096)
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
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
    register_paging(type, "contiguous", Place::contiguous);
    register_paging(type, "in_order", Place::in_order);
    register_paging(type, "scattered", Place::scattered);
  }
  return true;
}();

}  // namespace
}  // namespace lm::bench
