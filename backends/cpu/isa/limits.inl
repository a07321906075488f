// backends/cpu/isa/limits.inl — loops that do nothing but one thing as fast as this instruction set
// can: read memory, multiply small integers, multiply floats. Their speed is the roof that
// `llm bench` puts above every result (the roofline model, doi:10.1145/1498765.1498785).

namespace lm::cpu {
namespace {

// Chains that run side by side: more than latency times units of any of these instructions.
constexpr int kChains = 12;

// Every byte of [p, p + bytes) once; bytes is a multiple of 1024.
uint32_t read_memory(const void* p, int64_t bytes) {
  constexpr int kUnroll = 8;
  constexpr int64_t kVector = 4 * kLanes, kAhead = 2048;
  const auto* at = static_cast<const uint8_t*>(p);
  I sums[kUnroll];
  for (I& sum : sums) sum = i_set(0);
  for (int64_t done = 0; done < bytes; done += kUnroll * kVector, at += kUnroll * kVector) {
    for (int64_t line = 0; line < kUnroll * kVector; line += 64) {
      __builtin_prefetch(at + kAhead + line);
    }
    for (int u = 0; u < kUnroll; ++u) sums[u] = i_add(sums[u], i_load(at + u * kVector));
  }
  I all = i_set(0);
  for (const I sum : sums) all = i_add(all, sum);
  return uint32_t(i_largest(all));
}

// Tells the compiler that the value may have changed: no product with it is the one before.
template <class Vector>
inline void touch(Vector& value) {
  if constexpr (kLanes == 1) {
    __asm__ volatile("" : "+r"(value));
  } else {
    __asm__ volatile("" : "+v"(value));
  }
}

// Returns operations, a product and a sum being two; `checksum` keeps the compiler from leaving them
// out.
int64_t dot_bytes(int64_t rounds, uint32_t& checksum) {
  const int8_t x[4] = {1, -2, 3, -4};
  I w = i_set(0x01020304);
  I acc[kChains];
  for (int c = 0; c < kChains; ++c) acc[c] = i_set(c);
  for (int64_t round = 0; round < rounds; ++round) {
    for (I& a : acc) {
      touch(w);
      a = dot_step(a, w, x);
    }
  }
  I all = i_set(0);
  for (const I a : acc) all = i_add(all, a);
  checksum = uint32_t(i_largest(all));
  return rounds * kChains * 4 * kLanes * 2;
}

int64_t multiply_floats(int64_t rounds, uint32_t& checksum) {
  const F x = f_set(0.5f), w = f_set(0.25f);
  F acc[kChains];
  for (int c = 0; c < kChains; ++c) acc[c] = f_set(float(c));
  for (int64_t round = 0; round < rounds; ++round) {
    for (F& a : acc) a = f_fma(a, x, w);
  }
  F all = f_set(0);
  for (const F a : acc) all = f_add(all, a);
  checksum = uint32_t(f_sum(all));
  return rounds * kChains * kLanes * 2;
}

}  // namespace
}  // namespace lm::cpu
