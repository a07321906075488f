// kv_write: what the cache holds, number by number, and what it leaves alone.
#include <algorithm>
#include <cmath>

#include "quant/decode.h"
#include "quant/half.h"
#include "tests/cpu/harness.h"
#include "tests/cuda/rig.h"

using namespace lm;
using namespace lm::test;

namespace {

// A row of a head as the cache must hold it (see backends/cuda/kv_layout.cuh).
struct Stored {
  std::vector<std::byte> row, scales;
};

template <class T>
void append(std::vector<std::byte>& bytes, T value) {
  const std::byte* p = reinterpret_cast<const std::byte*>(&value);
  bytes.insert(bytes.end(), p, p + sizeof value);
}

Stored stored(DType type, const float* x, int64_t n) {
  Stored s;
  for (int64_t first = 0; first < n; first += 32) {
    const int64_t end = std::min(n, first + 32);
    float largest = 0;
    for (int64_t i = first; i < end; ++i) largest = std::max(largest, std::abs(x[i]));
    const uint16_t half = f32_to_f16(largest / 127.0f);
    const float scale = f16_to_f32(half), factor = scale > 0 ? 1.0f / scale : 0.0f;
    if (type == DType::q8_0) append(s.scales, half);
    for (int64_t i = first; i < end; ++i) {
      if (type == DType::f32) append(s.row, x[i]);
      if (type == DType::f16) append(s.row, f32_to_f16(x[i]));
      if (type == DType::q8_0) {
        append(s.row, int8_t(std::nearbyint(std::clamp(x[i] * factor, -127.0f, 127.0f))));
      }
    }
  }
  return s;
}

}  // namespace

TEST_CASE("cuda kv_write: rows lie in their slots; a row without one is not stored") {
  LM_CUDA(cuda);
  for_each_schedule([&] {
    Random random(134);
    for (const DType type : {DType::f32, DType::f16, DType::q8_0}) {
      for (const int64_t head_dim : {32, 64, 96, 6, 80}) {
        if (type == DType::q8_0 && head_dim % 32 != 0) continue;
        INFO(std::string(dtype_name(type)), " head_dim ", head_dim);
        const int64_t n_heads = 3, block_size = 4, n_blocks = 3, n = 4;
        const std::vector<int32_t> slots = {-1, 9, 4, 12};  // 12: beyond the cache
        const std::vector<float> rows[2] = {random_floats(n * n_heads * head_dim, random),
                                            random_floats(n * n_heads * head_dim, random, 100)};
        const Guarded k(*cuda, {1, n, n_heads, head_dim}, rows[0]),
            v(*cuda, {1, n, n_heads, head_dim}, rows[1]), ts(*cuda, {1, 1, 1, n}, slots);
        Guarded caches[2] = {{*cuda, {n_blocks, n_heads, block_size, head_dim}, type},
                             {*cuda, {n_blocks, n_heads, block_size, head_dim}, type}};
        StepView step;
        step.n_tokens = int(n);
        step.block_size = int(block_size);
        step.slots = ts;
        cuda->kv_write({.k = k, .v = v, .k_cache = caches[0], .v_cache = caches[1]}, step);
        for (int which = 0; which < 2; ++which) {
          REQUIRE(caches[which].guards_intact());
          const size_t head_bytes = size_t(block_size) * row_bytes(type, head_dim);
          std::vector<std::byte> expected(size_t(n_blocks * n_heads) * head_bytes,
                                          Guarded::kGuardByte);
          for (const int64_t row : {1, 2}) {
            const int64_t block = slots[size_t(row)] / block_size,
                          token = slots[size_t(row)] % block_size;
            for (int64_t h = 0; h < n_heads; ++h) {
              const Stored s =
                  stored(type, rows[which].data() + (row * n_heads + h) * head_dim, head_dim);
              std::byte* head = expected.data() + size_t(block * n_heads + h) * head_bytes;
              std::byte* scales = head + size_t(block_size) * s.row.size();
              std::copy(s.row.begin(), s.row.end(), head + size_t(token) * s.row.size());
              std::copy(s.scales.begin(), s.scales.end(), scales + size_t(token) * s.scales.size());
            }
          }
          REQUIRE(caches[which].get<std::byte>() == expected);
        }
      }
    }
  });
}

TEST_CASE("cuda kv_write: a NaN spoils its 32 numbers, visibly") {
  LM_CUDA(cuda);
  std::vector<float> x(64, 1.0f);
  x[40] = NAN;
  const Guarded k(*cuda, {1, 1, 1, 64}, x), slots(*cuda, {1, 1, 1, 1}, std::vector<int32_t>{0});
  Guarded cache(*cuda, {1, 1, 1, 64}, DType::q8_0), other(*cuda, {1, 1, 1, 64}, DType::q8_0);
  StepView step;
  step.n_tokens = 1;
  step.block_size = 1;
  step.slots = slots;
  cuda->kv_write({.k = k, .v = k, .k_cache = cache, .v_cache = other}, step);
  const std::vector<uint16_t> words = cache.get<uint16_t>();  // 64 bytes, then two scales
  REQUIRE(f16_to_f32(words[32]) == doctest::Approx(1.0 / 127).epsilon(1e-3));
  REQUIRE(std::isnan(f16_to_f32(words[33])));
}

TEST_CASE("cuda rope_kv_write: the same bits as norms, rope and kv_write one by one") {
  LM_CUDA(cuda);
  for_each_schedule([&] {
    Random random(144);
    for (const DType type : {DType::f32, DType::f16, DType::q8_0}) {
      for (const int64_t head_dim : {64, 96, 80, 128}) {
        if (type == DType::q8_0 && head_dim % 32 != 0) continue;
        for (int variant = 0; variant < 4; ++variant) {
          const int64_t n = 3, heads = 3, kv_heads = 2, block_size = 4;
          const int64_t n_freqs = variant == 3 ? head_dim / 4 : head_dim / 2;
          const std::vector<float> q = random_floats(n * heads * head_dim, random),
                                   k = random_floats(n * kv_heads * head_dim, random),
                                   v = random_floats(n * kv_heads * head_dim, random);
          const Guarded weight(*cuda, {1, 1, 1, head_dim}, random_floats(head_dim, random));
          const Guarded freqs(*cuda, {1, 1, 1, n_freqs}, random_floats(n_freqs, random)),
              positions(*cuda, {1, 1, 1, n}, std::vector<int32_t>{5, 1000, 131071}),
              slots(*cuda, {1, 1, 1, n}, std::vector<int32_t>{2, -1, 7});
          StepView step;
          step.n_tokens = int(n);
          step.block_size = int(block_size);
          step.positions = positions;
          step.slots = slots;
          std::vector<float> turned[2];
          std::vector<std::byte> stored[2];
          for (const int fused : {0, 1}) {
            Guarded tq(*cuda, {1, n, heads, head_dim}, q), tk(*cuda, {1, n, kv_heads, head_dim}, k),
                tv(*cuda, {1, n, kv_heads, head_dim}, v);
            Guarded k_cache(*cuda, {2, kv_heads, block_size, head_dim}, type),
                v_cache(*cuda, {2, kv_heads, block_size, head_dim}, type);
            HeadNorms norms;
            if (variant % 2 != 0) norms = {.q_weight = weight, .k_weight = weight, .eps = 1e-6f};
            const Rope rope = {
                .q = tq, .k = tk, .inv_freq = freqs, .neox = variant >= 2, .magnitude = 1.5f};
            const KvWrite write = {.k = tk, .v = tv, .k_cache = k_cache, .v_cache = v_cache};
            if (fused != 0) {
              cuda->rope_kv_write(norms, rope, write, step);
            } else {
              cuda->Backend::rope_kv_write(norms, rope, write, step);
            }
            REQUIRE(tq.guards_intact());
            REQUIRE(k_cache.guards_intact());
            REQUIRE(v_cache.guards_intact());
            turned[fused] = tq.floats();
            stored[fused] = k_cache.get<std::byte>();
            const std::vector<std::byte> values = v_cache.get<std::byte>();
            stored[fused].insert(stored[fused].end(), values.begin(), values.end());
          }
          REQUIRE(same_bits(turned[0], turned[1]));
          REQUIRE(stored[0] == stored[1]);
        }
      }
    }
  });
}
