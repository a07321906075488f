// backends/cpu/isa/attention.inl — the pieces of attention over one part of the keys.
// A score depends on its query and key alone, a weighted sum adds keys in order: how many queries
// or keys a call carries changes nothing.

namespace lm::cpu {
namespace {

constexpr int kScoreStride = 256;  // keys of a segment

void f16_to_f32_row(const void* src, int64_t n, float* out) {
  const uint8_t* p = static_cast<const uint8_t*>(src);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f_store(out + i, f_load_f16(p + 2 * i));
  if (i < n) {
    uint16_t tail[kLanes] = {};
    __builtin_memcpy(tail, p + 2 * i, uint64_t(n - i) * 2);
    f_store_n(out + i, f_load_f16(tail), n - i);
  }
}

// Blocks of 32: f16 d, 32 signed bytes.
void q8_0_to_f32_row(const void* src, int64_t n, float* out) {
  const uint8_t* block = static_cast<const uint8_t*>(src);
  for (int64_t i = 0; i < n; i += 32, block += 34) {
    uint16_t halves[kLanes];
    for (int j = 0; j < kLanes; ++j) __builtin_memcpy(halves + j, block, 2);
    const F d = f_load_f16(halves);
    const int8_t* q = reinterpret_cast<const int8_t*>(block + 2);
    for (int j = 0; j < 32; j += kLanes) f_store(out + i + j, f_mul(d, f_load_i8(q + j)));
  }
}

float dot(const float* a, const float* b, int n) {
  F sum0 = f_set(0), sum1 = f_set(0);
  int i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    sum0 = f_fma(f_load(a + i), f_load(b + i), sum0);
    sum1 = f_fma(f_load(a + i + kLanes), f_load(b + i + kLanes), sum1);
  }
  for (; i + kLanes <= n; i += kLanes) sum0 = f_fma(f_load(a + i), f_load(b + i), sum0);
  if (i < n) sum1 = f_fma(f_load_n(a + i, n - i), f_load_n(b + i, n - i), sum1);
  return f_sum(f_add(sum0, sum1));
}

void scores(const float* queries, int n_queries, const float* keys, int n_keys, int head_dim,
            float scale, float* out) {
  for (int j = 0; j < n_keys; ++j, keys += head_dim) {
    for (int q = 0; q < n_queries; ++q) {
      out[q * kScoreStride + j] = scale * dot(queries + int64_t(q) * head_dim, keys, head_dim);
    }
  }
}

void soft_cap(float* s, int64_t n, float cap) {
  const F c = f_set(cap);
  map(s, s, n, s, [=](F x, F) { return f_mul(c, v_tanh(f_div(x, c))); });
}

SoftmaxPart softmax_part(float* s, int n) {
  const F lowest = f_set(-__builtin_inff());
  F largest = lowest;
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) largest = f_max(f_load(s + i), largest);
  float m = f_largest(largest);
  for (; i < n; ++i) m = s[i] > m ? s[i] : m;
  F sum = f_set(0);
  const F vm = f_set(m);
  for (i = 0; i + kLanes <= n; i += kLanes) {
    const F e = v_exp(f_sub(f_load(s + i), vm));
    f_store(s + i, e);
    sum = f_add(sum, e);
  }
  if (i < n) {
    f_store_n(s + i, v_exp(f_sub(f_load_n(s + i, n - i), vm)), n - i);
    sum = f_add(sum, f_load_n(s + i, n - i));
  }
  return {m, f_sum(sum)};
}

// kVectors vectors of one query's sum.
template <int kVectors>
void weighted_sum_slice(const float* p, const float* values, int n_keys, int head_dim, float* acc) {
  F sums[kVectors];
  for (int v = 0; v < kVectors; ++v) sums[v] = f_load(acc + v * kLanes);
  for (int j = 0; j < n_keys; ++j, values += head_dim) {
    const F w = f_set(p[j]);
    for (int v = 0; v < kVectors; ++v) sums[v] = f_fma(f_load(values + v * kLanes), w, sums[v]);
  }
  for (int v = 0; v < kVectors; ++v) f_store(acc + v * kLanes, sums[v]);
}

void weighted_sum_tail(const float* p, const float* values, int n_keys, int head_dim, int n,
                       float* acc) {
  F sum = f_load_n(acc, n);
  for (int j = 0; j < n_keys; ++j, values += head_dim) {
    sum = f_fma(f_load_n(values, n), f_set(p[j]), sum);
  }
  f_store_n(acc, sum, n);
}

void weighted_sum(const float* p, int n_queries, const float* values, int n_keys, int head_dim,
                  float* acc) {
  for (int q = 0; q < n_queries; ++q, p += kScoreStride, acc += head_dim) {
    int d = 0;
    for (; d + 4 * kLanes <= head_dim; d += 4 * kLanes) {
      weighted_sum_slice<4>(p, values + d, n_keys, head_dim, acc + d);
    }
    for (; d + kLanes <= head_dim; d += kLanes) {
      weighted_sum_slice<1>(p, values + d, n_keys, head_dim, acc + d);
    }
    if (d < head_dim) weighted_sum_tail(p, values + d, n_keys, head_dim, head_dim - d, acc + d);
  }
}

}  // namespace
}  // namespace lm::cpu
