// backends/cpu/isa/elementwise.inl — norms, activations and rotations of one row.
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

}  // namespace
}  // namespace lm::cpu
