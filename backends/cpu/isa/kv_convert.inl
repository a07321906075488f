// backends/cpu/isa/kv_convert.inl — between f32 and what the KV cache holds: f32, f16, or bytes
// with a scale for 32 of them.

namespace lm::cpu {
namespace {

// Items of kBytes, and scales of kScaleBytes for 32 of them.
struct F32Values {
  static constexpr int kBytes = 4, kScaleBytes = 0;
  static F load(const uint8_t* p) { return f_load(reinterpret_cast<const float*>(p)); }
};
struct F16Values {
  static constexpr int kBytes = 2, kScaleBytes = 0;
  static F load(const uint8_t* p) { return f_load_f16(p); }
};
struct I8Values {
  static constexpr int kBytes = 1, kScaleBytes = 2;
  static F load(const uint8_t* p) { return f_load_i8(reinterpret_cast<const int8_t*>(p)); }
};

// Asks for a line in each 64 of kBytes bytes: into the second level, as they are not needed at once
// (see collect_runs).
template <int kBytes>
void fetch_ahead(const uint8_t* p) {
  for (int b = 0; b < kBytes; b += 64) __builtin_prefetch(p + b, 0, 2);
}

// The first n lanes: no byte behind them is read.
template <class Values>
F load_lanes(const uint8_t* p, int64_t n) {
  if (n >= kLanes) return Values::load(p);
  uint8_t lanes[kLanes * Values::kBytes] = {};
  __builtin_memcpy(lanes, p, size_t(n) * Values::kBytes);
  return Values::load(lanes);
}

template <class Values>
void widen_row(const void* src, int64_t n, float* out) {
  const uint8_t* p = static_cast<const uint8_t*>(src);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f_store(out + i, Values::load(p + i * Values::kBytes));
  if (i < n) f_store_n(out + i, load_lanes<Values>(p + i * Values::kBytes, n - i), n - i);
}
void f16_to_f32_row(const void* src, int64_t n, float* out) {
  widen_row<F16Values>(src, n, out);
}
void i8_to_f32_row(const void* src, int64_t n, float* out) {
  widen_row<I8Values>(src, n, out);
}

void f32_to_f16_row(const float* x, int64_t n, uint16_t* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f_store_f16(out + i, f_load(x + i));
  if (i < n) {
    uint16_t tail[kLanes];
    f_store_f16(tail, f_load_n(x + i, n - i));
    __builtin_memcpy(out + i, tail, size_t(n - i) * 2);
  }
}

// scale = f16(max|x| / 127), q = round-half-even(x / scale): against the scale that is stored, so
// that its rounding costs nothing. A NaN or an infinity spoils its block, visibly (see quantize).
void f32_to_q8_0_row(const float* x, int64_t n, uint16_t* scales, int8_t* q) {
  for (int64_t b = 0; b < n / 32; ++b, x += 32, q += 32) {
    I largest = i_set(0);
    for (int i = 0; i < 32; i += kLanes) {
      largest = i_max(largest, i_and(f_bits(f_load(x + i)), i_set(0x7FFFFFFF)));
    }
    const int32_t bits = i_largest(largest);
    float amax;
    __builtin_memcpy(&amax, &bits, 4);
    uint16_t halves[kLanes];
    f_store_f16(halves, f_set(amax / 127.0f));
    scales[b] = halves[0];
    float scale[kLanes];
    f_store(scale, f_load_f16(halves));
    // In f16 a positive number is at least 2^-24; rounding one of those few up to 127.5 times its
    // scale is what the clamp is for.
    const F factor = f_set(scale[0] > 0 ? 1.0f / scale[0] : 0.0f);
    const F magic = f_set(12582912.0f);  // 1.5 · 2^23: see v_exp
    int32_t rounded[32];
    for (int i = 0; i < 32; i += kLanes) {
      const F scaled = f_max(f_set(-127.0f), f_min(f_set(127.0f), f_mul(f_load(x + i), factor)));
      i_store(rounded + i, f_bits(f_add(scaled, magic)));
    }
    for (int i = 0; i < 32; ++i) q[i] = int8_t(uint8_t(uint32_t(rounded[i]) & 0xFF));
  }
}

}  // namespace
}  // namespace lm::cpu
