// backends/cpu/isa/attention_scores.inl — queries times keys. Lanes are keys (kv_layout.h): a score
// is one lane's sum over d in order, whatever else the call carries, and no lane is ever summed.

namespace lm::cpu {
namespace {

// kVectors · kLanes keys, times kQueries queries that are packed dimension by dimension. As many
// bytes of run.prefetch are fetched as keys are read, from the tile's place on.
template <class Values>
struct FloatKeys {
  static constexpr int kItemBytes = Values::kBytes;
  template <int kQueries, int kVectors>
  static void tile(const Scores& op, const KvRun& run, int j, F (&sums)[kQueries][kVectors]) {
    constexpr int kRowBytes = kVectors * kLanes * kItemBytes;
    const uint8_t* keys = run.data + int64_t(j) * kItemBytes;
    const uint8_t* prefetch = run.prefetch + int64_t(j) * op.head_dim * kItemBytes;
    const float* query = static_cast<const float*>(op.queries);
    for (int d = 0; d < op.head_dim; ++d, prefetch += kRowBytes) {
      fetch_ahead<kRowBytes>(prefetch);
      F k[kVectors];
      for (int v = 0; v < kVectors; ++v) k[v] = Values::load(keys + v * kLanes * kItemBytes);
      for (int i = 0; i < kQueries; ++i) {
        const F q = f_set(query[i]);
        for (int v = 0; v < kVectors; ++v) sums[i][v] = f_fma(k[v], q, sums[i][v]);
      }
      query += kQueries;
      keys += op.stride * kItemBytes;
    }
  }
};
using F32Keys = FloatKeys<F32Values>;
using F16Keys = FloatKeys<F16Values>;

// A lane holds two dimensions of a key as 16-bit numbers. 32 products of 8 by 16 bits are exact:
// 32 · 128 · 32767 < 2^31.
struct Q8Keys {
  template <int kQueries, int kVectors>
  static void tile(const Scores& op, const KvRun& run, int j, F (&sums)[kQueries][kVectors]) {
    constexpr int kRowBytes = 2 * kVectors * kLanes;
    const uint8_t* keys = run.data + 2 * int64_t(j);
    const uint8_t* prefetch = run.prefetch + int64_t(j) * (op.head_dim + op.head_dim / 16);
    const uint8_t* scales = run.scales + 2 * int64_t(j);
    const int32_t* query = static_cast<const int32_t*>(op.queries);
    for (int d = 0; d < op.head_dim; d += 32) {
      I dots[kQueries][kVectors];
      for (auto& row : dots) {
        for (I& dot : row) dot = i_set(0);
      }
      // In steps that the compiler unrolls: it moves every sum twice around a loop.
      for (int step = 0; step < 4; ++step) {
        for (int pair = 0; pair < 4; ++pair) {
          fetch_ahead<kRowBytes>(prefetch);
          prefetch += kRowBytes;
          I k[kVectors];
          for (int v = 0; v < kVectors; ++v) k[v] = i_load_pairs(keys + 2 * v * kLanes);
          for (int i = 0; i < kQueries; ++i) {
            const I q = i_set(query[i]);
            for (int v = 0; v < kVectors; ++v) dots[i][v] = dot_pairs(dots[i][v], k[v], q);
          }
          query += kQueries;
          keys += 2 * op.stride;
        }
      }
      fetch_ahead<kRowBytes>(prefetch);  // as many bytes as there are scales
      prefetch += kRowBytes;
      for (int v = 0; v < kVectors; ++v) {
        const F scale = f_load_f16(scales + 2 * v * kLanes);
        for (int i = 0; i < kQueries; ++i) {
          sums[i][v] = f_fma(f_from_i(dots[i][v]), scale, sums[i][v]);
        }
      }
      scales += 2 * op.stride;
    }
  }
};

template <class Keys, int kQueries, int kVectors>
void score_tile(const Scores& op, const KvRun& run, int j) {
  F sums[kQueries][kVectors];
  for (auto& row : sums) {
    for (F& sum : row) sum = f_set(0);
  }
  Keys::template tile<kQueries, kVectors>(op, run, j, sums);
  for (int i = 0; i < kQueries; ++i) {
    const F factor = f_set(op.factors[i]);
    float* out = op.out + i * kSegment + run.first + j;
    for (int v = 0; v < kVectors; ++v) f_store(out + v * kLanes, f_mul(sums[i][v], factor));
  }
}

template <class Keys, int kQueries>
void scores_of(const Scores& op) {
  for (const KvRun* run = op.keys; run < op.keys + op.n_keys; ++run) {
    int j = 0;
    for (; j + 2 * kLanes <= run->n; j += 2 * kLanes) score_tile<Keys, kQueries, 2>(op, *run, j);
    for (; j < run->n; j += kLanes) score_tile<Keys, kQueries, 1>(op, *run, j);
  }
}

// Calls the function of `op` that is compiled for its number of queries, 1..kMaxColumns.
template <class Keys, int kQueries = kMaxColumns>
void scores(const Scores& op) {
  if constexpr (kQueries > 1) {
    if (op.n_queries < kQueries) return scores<Keys, kQueries - 1>(op);
  }
  scores_of<Keys, kQueries>(op);
}

// Like quantize(), with 16 bits; a NaN or an infinity gives d = NaN or inf and spoils its scores.
float quantize_query(const float* x, int64_t n, int16_t* out) {
  I largest = i_set(0);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    largest = i_max(largest, i_and(f_bits(f_load(x + i)), i_set(0x7FFFFFFF)));
  }
  if (i < n) largest = i_max(largest, i_and(f_bits(f_load_n(x + i, n - i)), i_set(0x7FFFFFFF)));
  const int32_t bits = i_largest(largest);
  float amax;
  __builtin_memcpy(&amax, &bits, 4);
  const float factor = amax > 0x1p-112f ? 32767.0f / amax : 0.0f;
  for (i = 0; i < n; ++i) {
    const float rounded = x[i] * factor + 12582912.0f;  // 1.5 · 2^23: see v_exp
    uint32_t word;
    __builtin_memcpy(&word, &rounded, 4);
    out[i] = int16_t(uint16_t(word & 0xFFFF));
  }
  return amax / 32767.0f;
}

}  // namespace
}  // namespace lm::cpu
