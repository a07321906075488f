// backends/cpu/isa/elementwise.inl — norms, activations, rotations and conversions of one row.
// A tail shorter than a vector goes through the same arithmetic as a full one.

namespace lm::cpu {
namespace {

// out[i] = f(i-th lanes of the inputs). `f` takes and returns vectors.
template <class Function>
void map(const float* a, const float* b, int64_t n, float* out, const Function& f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f_store(out + i, f(f_load(a + i), f_load(b + i)));
  if (i < n) f_store_n(out + i, f(f_load_n(a + i, n - i), f_load_n(b + i, n - i)), n - i);
}

// Σ x², in 4 · kLanes partial sums whose order depends on n alone.
float sum_of_squares(const float* x, int64_t n) {
  F sums[4] = {f_set(0), f_set(0), f_set(0), f_set(0)};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int j = 0; j < 4; ++j) {
      const F v = f_load(x + i + j * kLanes);
      sums[j] = f_fma(v, v, sums[j]);
    }
  }
  for (int j = 0; i < n; i += kLanes, ++j) {
    const F v = i + kLanes <= n ? f_load(x + i) : f_load_n(x + i, n - i);
    sums[j] = f_fma(v, v, sums[j]);
  }
  return f_sum(f_add(f_add(sums[0], sums[1]), f_add(sums[2], sums[3])));
}

void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  const float mean = sum_of_squares(x, n) / float(n);
  const F inverse = f_set(1.0f / __builtin_sqrtf(mean + eps));
  map(x, weight, n, out, [=](F v, F w) { return f_mul(f_mul(v, inverse), w); });
}

void silu(const float* gate, const float* up, float, int64_t n, float* out) {
  map(gate, up, n, out, [](F g, F u) { return f_mul(f_mul(g, v_sigmoid(g)), u); });
}

// gelu(x) = x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))
void gelu_tanh(const float* gate, const float* up, float, int64_t n, float* out) {
  map(gate, up, n, out, [](F g, F u) {
    const F cubic = f_fma(f_mul(f_mul(g, g), f_set(0.044715f)), g, g);
    const F t = v_tanh(f_mul(f_set(0.79788456f), cubic));
    return f_mul(f_mul(f_mul(g, f_set(0.5f)), f_add(f_set(1.0f), t)), u);
  });
}

// gelu(x) = x/2 · (1 + erf(x / √2))
void gelu_erf(const float* gate, const float* up, float, int64_t n, float* out) {
  map(gate, up, n, out, [](F g, F u) {
    const F e = v_erf(f_mul(g, f_set(0.70710678f)));
    return f_mul(f_mul(f_mul(g, f_set(0.5f)), f_add(f_set(1.0f), e)), u);
  });
}

void swiglu_oai(const float* gate, const float* up, float limit, int64_t n, float* out) {
  const F hi = f_set(limit), lo = f_set(-limit);
  map(gate, up, n, out, [=](F g, F u) {
    const F capped = f_min(hi, g);
    const F clamped = f_max(lo, f_min(hi, u));
    const F gated = f_mul(capped, v_sigmoid(f_mul(capped, f_set(1.702f))));
    return f_mul(gated, f_add(clamped, f_set(1.0f)));
  });
}

float exp_of(float x) {
  float e[kLanes];
  f_store(e, v_exp(f_set(x)));
  return e[0];
}

void add(const float* a, const float* b, int64_t n, float* out) {
  map(a, b, n, out, [](F x, F y) { return f_add(x, y); });
}

void scale_add(float* out, float a, const float* x, float b, int64_t n) {
  const F va = f_set(a), vb = f_set(b);
  map(out, x, n, out, [=](F o, F v) { return f_fma(v, vb, f_mul(o, va)); });
}

void rotate_halves(float* x, const float* cos, const float* sin, int64_t n) {
  float* y = x + n;
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t left = n - i;
    const bool full = left >= kLanes;
    const auto load = [&](const float* p) { return full ? f_load(p + i) : f_load_n(p + i, left); };
    const F x0 = load(x), x1 = load(y), c = load(cos), s = load(sin);
    const F y0 = f_sub(f_mul(x0, c), f_mul(x1, s));
    const F y1 = f_add(f_mul(x0, s), f_mul(x1, c));
    if (full) {
      f_store(x + i, y0);
      f_store(y + i, y1);
    } else {
      f_store_n(x + i, y0, left);
      f_store_n(y + i, y1, left);
    }
  }
}

void rotate_pairs(float* x, const float* cos, const float* sin, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float x0 = x[2 * i], x1 = x[2 * i + 1];
    x[2 * i] = x0 * cos[i] - x1 * sin[i];
    x[2 * i + 1] = x0 * sin[i] + x1 * cos[i];
  }
}

// q = round-half-even(x · 127 / max|x|). The maximum is taken over the bits of |x|, where NaN is
// the largest: a block with a NaN or an infinity gets d = NaN or inf and spoils its row, visibly.
void quantize(const float* x, int64_t n, ActBlock* out) {
  for (int64_t b = 0; b < n / 32; ++b, x += 32, ++out) {
    I largest = i_set(0);
    for (int i = 0; i < 32; i += kLanes) {
      largest = i_max(largest, i_and(f_bits(f_load(x + i)), i_set(0x7FFFFFFF)));
    }
    const int32_t bits = i_largest(largest);
    float amax;
    __builtin_memcpy(&amax, &bits, 4);
    // Below 2^-120 the factor would overflow: such a block is zero.
    const float factor = amax > 0x1p-120f ? 127.0f / amax : 0.0f;
    const F magic = f_set(12582912.0f);  // 1.5 · 2^23: see v_exp
    int32_t q[32];
    for (int i = 0; i < 32; i += kLanes) {
      const I rounded = f_bits(f_add(f_mul(f_load(x + i), f_set(factor)), magic));
      i_store(q + i, rounded);
    }
    int32_t sum_lo = 0, sum_hi = 0;
    for (int i = 0; i < 32; ++i) {
      out->q[i] = int8_t(uint8_t(uint32_t(q[i]) & 0xFF));
      (i < 16 ? sum_lo : sum_hi) += out->q[i];
    }
    const int32_t sum = sum_lo + sum_hi;
    out->d = amax / 127.0f;
    out->d_sum = out->d * float(sum);
    out->minus_sum_8 = -8 * sum;
    out->minus_sum_128 = -128 * sum;
    out->minus_lo_32 = -32 * sum_lo;
    out->minus_hi_32 = -32 * sum_hi;
  }
}

}  // namespace
}  // namespace lm::cpu
