// cuda_attention_bench: everything of a layer but its matrices on the device of this machine:
// microseconds of the small operations, decoding's attention in bytes of the cache a second (caches
// change from call to call, so that none is found in the L2 cache), prompts' in operations a
// second. usage: cuda_attention_bench
#include <cmath>
#include <string>

#include "tests/cuda/bench.h"

using namespace lm;
using namespace lm::test;

namespace {

constexpr int kBlockSize = 32;
constexpr size_t kColdBytes = size_t(300) << 20;  // of caches: several times an L2 cache

struct Heads {
  int64_t n_heads, n_kv_heads, head_dim;
};

// Sequences of `depth` keys each, whose last `rows` are the step's.
StepView step_of(Room& room, int n_seqs, int rows, int depth) {
  const int n = n_seqs * rows, blocks = (depth + kBlockSize - 1) / kBlockSize;
  std::vector<int32_t> positions, slots, q_start, table;
  for (int s = 0; s < n_seqs; ++s) {
    q_start.push_back(s * rows);
    for (int b = 0; b < blocks; ++b) table.push_back(s * blocks + b);
    for (int p = depth - rows; p < depth; ++p) {
      positions.push_back(p);
      slots.push_back(s * blocks * kBlockSize + p);
    }
  }
  q_start.push_back(n);
  StepView step;
  step.n_tokens = n;
  step.n_seqs = n_seqs;
  step.block_size = kBlockSize;
  step.positions = room.of({1, 1, 1, n}, positions);
  step.slots = room.of({1, 1, 1, n}, slots);
  step.q_start = room.of({1, 1, 1, n_seqs + 1}, q_start);
  step.kv_len = room.of({1, 1, 1, n_seqs}, std::vector<int32_t>(size_t(n_seqs), depth));
  step.block_table = room.of({1, 1, n_seqs, blocks}, table);
  return step;
}

// A cache of random keys and values, written the usual way.
Tensor cache_of(Backend& backend, Room& room, const Heads& h, DType type, int64_t n_blocks) {
  const Tensor cache = room.empty({n_blocks, h.n_kv_heads, kBlockSize, h.head_dim}, type);
  constexpr int64_t kAtOnce = 4096;
  Room own(backend);
  const Tensor x = own.filled({1, kAtOnce, h.n_kv_heads, h.head_dim});
  for (int64_t first = 0; first < n_blocks * kBlockSize; first += kAtOnce) {
    std::vector<int32_t> slots;
    for (int64_t i = first; i < first + kAtOnce; ++i) {
      slots.push_back(i < n_blocks * kBlockSize ? int32_t(i) : -1);
    }
    StepView step;
    step.n_tokens = int(kAtOnce);
    step.block_size = kBlockSize;
    step.slots = own.of({1, 1, 1, kAtOnce}, slots);
    backend.kv_write({.k = x, .v = x, .k_cache = cache, .v_cache = cache}, step);
  }
  check(backend.synchronize());
  return cache;
}

void bench_attention(Backend& backend, const DeviceLimits& limits, const Heads& h, DType type,
                     int n_seqs, int rows, int depth) {
  Room room(backend);
  const StepView step = step_of(room, n_seqs, rows, depth);
  const int64_t n_blocks = int64_t(n_seqs) * step.block_table.cols(), n = step.n_tokens;
  const size_t bytes =
      2 * size_t(n_blocks * h.n_kv_heads) * kBlockSize * row_bytes(type, h.head_dim);
  const int n_caches = rows == depth ? 2 : 2 * int(kColdBytes / bytes + 1);
  std::vector<Tensor> caches;
  for (int i = 0; i < n_caches; ++i) caches.push_back(cache_of(backend, room, h, type, n_blocks));
  const Tensor q = room.filled({1, n, h.n_heads, h.head_dim}),
               out = room.empty({1, n, h.n_heads, h.head_dim});
  const double time = seconds(backend, rows == depth ? 2 : 32, [&](int i) {
    backend.attention({.q = q,
                       .k_cache = caches[size_t(2 * i % n_caches)],
                       .v_cache = caches[size_t((2 * i + 1) % n_caches)],
                       .out = out,
                       .scale = float(1 / std::sqrt(double(h.head_dim)))},
                      step);
  });
  const double seen = double(n) * (depth - (rows - 1) / 2.0);  // queries times keys, of a head
  const double flops = 4 * seen * double(h.n_heads * h.head_dim), speed = double(bytes) / time;
  std::printf(
      "%3d/%-3d %5d  %-5s %4d %6d %7d %10.1f us %7.0f GB/s %5.1f %% %7.1f TFLOP/s %5.1f %%\n",
      int(h.n_heads), int(h.n_kv_heads), int(h.head_dim), std::string(dtype_name(type)).c_str(),
      n_seqs, rows, depth, time * 1e6, speed * 1e-9, 100 * speed / limits.read_bytes_per_second,
      flops / time * 1e-12, 100 * flops / time / limits.f16_flops_per_second);
  std::fflush(stdout);
}

struct Model {
  const char* name;
  Heads heads;
  int64_t d_model, d_ff;
};

void bench_small(Backend& backend, const Model& m, int n) {
  Room room(backend);
  const Heads& h = m.heads;
  const StepView step = step_of(room, 1, n, 1024);
  const Tensor x = room.filled({1, 1, n, m.d_model}), y = room.filled({1, 1, n, m.d_model}),
               weight = room.filled({1, 1, 1, m.d_model});
  const Tensor q = room.filled({1, n, h.n_heads, h.head_dim}),
               k = room.filled({1, n, h.n_kv_heads, h.head_dim}),
               v = room.filled({1, n, h.n_kv_heads, h.head_dim}),
               head_weight = room.filled({1, 1, 1, h.head_dim}),
               freqs = room.filled({1, 1, 1, h.head_dim / 2});
  const Tensor gate = room.filled({1, 1, n, m.d_ff}), up = room.filled({1, 1, n, m.d_ff});
  const Tensor logits = room.filled({1, 1, n, 128}), ids = room.empty({1, 1, n, 8}, DType::i32),
               shares = room.empty({1, 1, n, 8});
  const Rope rope{.q = q, .k = k, .inv_freq = freqs, .neox = true};
  const auto line = [&](const char* name, const auto& call) {
    std::printf("%-4s %5d  %-22s %8.2f us\n", m.name, n, name, 1e6 * seconds(backend, 100, call));
  };
  line("rms_norm", [&](int) { backend.rms_norm({.x = x, .weight = weight, .out = y, .eps = 0}); });
  line("glu", [&](int) { backend.glu({.gate = gate, .up = up, .out = gate, .act = Act::silu}); });
  line("add", [&](int) { backend.add(x, y, x); });
  line("rope", [&](int) { backend.rope(rope, step); });
  line("moe_route", [&](int) {
    backend.moe_route({.logits = logits, .ids = ids, .weights = shares, .top_k = 8});
  });
  for (const DType type : {DType::f16, DType::q8_0}) {
    const int64_t n_blocks = step.block_table.cols();
    const std::array<int64_t, 4> shape = {n_blocks, h.n_kv_heads, kBlockSize, h.head_dim};
    const KvWrite write{
        .k = k, .v = v, .k_cache = room.empty(shape, type), .v_cache = room.empty(shape, type)};
    const std::string name(dtype_name(type));
    line(("kv_write " + name).c_str(), [&](int) { backend.kv_write(write, step); });
    line(("rope_kv_write " + name).c_str(),
         [&](int) { backend.rope_kv_write({}, rope, write, step); });
    line(("with norms " + name).c_str(), [&](int) {
      backend.rope_kv_write({head_weight, head_weight, 1e-6f}, rope, write, step);
    });
  }
}

}  // namespace

int main() {
  const auto backend = checked(cuda::registry_entry().open("cuda:0", {}));
  check(backend->reserve({.max_tokens = 8192,
                          .max_seqs = 16,
                          .max_linear_in = 1,
                          .max_linear_out = 1,
                          .n_heads = 64,
                          .n_kv_heads = 32,
                          .head_dim = 256}));
  const DeviceLimits limits = checked(backend->measure_limits());
  std::printf("%s: reads %.0f GB/s, f16 %.0f TFLOP/s\n", std::string(backend->detail()).c_str(),
              limits.read_bytes_per_second * 1e-9, limits.f16_flops_per_second * 1e-12);
  for (const Model& model :
       {Model{"8B", {32, 8, 128}, 4096, 14336}, Model{"1B", {32, 8, 64}, 2048, 8192}}) {
    for (const int n : {1, 16, 512}) bench_small(*backend, model, n);
  }
  std::printf("\n  heads   dim  type  seqs   rows   depth\n");
  const auto attend = [&](Heads heads, DType type, int n_seqs, int rows, int depth) {
    bench_attention(*backend, limits, heads, type, n_seqs, rows, depth);
  };
  const Heads of_8b{32, 8, 128};
  for (const int depth : {1024, 4096, 8192, 32768}) {
    for (const int n_seqs : {1, 4, 16}) attend(of_8b, DType::f16, n_seqs, 1, depth);
  }
  attend(of_8b, DType::f16, 1, 1, 131072);
  for (const int depth : {8192, 32768}) {
    for (const int rows : {4, 8, 16}) attend(of_8b, DType::f16, 1, rows, depth);
  }
  for (const int depth : {4096, 32768}) {
    attend(of_8b, DType::q8_0, 1, 1, depth);
    for (const Heads heads : {Heads{32, 8, 64}, {32, 32, 96}, {16, 8, 256}, {64, 8, 128}}) {
      attend(heads, DType::f16, 1, 1, depth);
    }
    attend({32, 32, 80}, DType::f16, 1, 1, depth);
    attend({32, 8, 120}, DType::f16, 1, 1, depth);  // and f32: without tensor cores
    attend(of_8b, DType::f32, 1, 1, depth);
  }
  for (const int depth : {512, 2048, 8192}) {
    attend(of_8b, DType::f16, 1, depth, depth);
    attend({32, 8, 64}, DType::f16, 1, depth, depth);
    attend(of_8b, DType::q8_0, 1, depth, depth);
    attend({32, 8, 120}, DType::f16, 1, depth, depth);
  }
  return 0;
}
