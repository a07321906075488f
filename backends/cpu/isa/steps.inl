// backends/cpu/isa/steps.inl — a step of K, unpacked for kLanes rows, and how a tile of panels ×
// columns adds it. Every format (formats*.inl) unpacks to steps of numbers or of integers, so that
// one loop multiplies them all. Whatever kind of step a format has for few and for many columns, a
// dot is the same whole number, rounded once: one column gets the bits that it has among five
// hundred.
#include <type_traits>  // no function that a linker could keep

namespace lm::cpu {
namespace {

// Before the loops over registers, which must not stay loops: gcc wants to be told.
#if defined(__clang__)
#define LM_UNROLL
#else
#define LM_UNROLL _Pragma("GCC unroll 16")
#endif

// One k of a weight of numbers.
struct FloatStep {
  using Column = float;
  static constexpr int kTilePanels = kFloatTilePanels, kTileColumns = kFloatTileColumns;
  F w;
  void finish() {}
};

// What is subtracted from each unsigned weight; `sign`: nothing, the weights are signed bytes;
// `zero`: each row's own number (ZeroStep).
enum class Offset { none, by_1, by_8, by_16, by_32, by_64, sign, zero };

// 32 of K: w = scale · (q - offset) + floor. The halves may have scales and floors of their own.
// kExact: how many words' products a 16-bit sum holds exactly (see Dot).
template <int kExact_, Offset kOffset_, int kScales_ = 1, int kFloors_ = 0>
struct IntStep {
  using Column = ActBlock;
  static constexpr int kTilePanels = kIntTilePanels, kTileColumns = kIntTileColumns;
  static constexpr int kExact = kExact_, kScales = kScales_, kFloors = kFloors_;
  static constexpr Offset kOffset = kOffset_;
  I w[8];
  F scale[kScales];
  F unbias[kScales];                    // -kDotBias · scale
  F floor[kFloors == 0 ? 1 : kFloors];  // of all; what the second half's is above the first's
  void finish() {
    for (int i = 0; i < kScales; ++i) unbias[i] = f_mul(scale[i], f_set(-kDotBiasValue));
  }
};

// 32 of K: w = scale · (q - z), z in 0..16 a row's own. A dot lacks z Σx, which start_128 has, read
// as the number kDotBiasValue - 128 Σx: z/128 times it is kZeroBias z - z Σx. Whole numbers below
// 2^24 all the way, so that the sum is rounded no more than that of weights that z was taken from.
constexpr int32_t kZeroBias = int32_t(kDotBiasValue) / 128;
struct ZeroStep : IntStep<8, Offset::zero> {
  I start;  // kDotBias - kZeroBias z
  F zero;   // z / 128
  void set_zero(I z) {
    start = i_sub(i_set(kDotBias), i_add(i_shl<16>(z), i_shl<15>(z)));
    zero = f_mul(f_from_i(z), f_set(1.0f / 128));
  }
};
static_assert(kZeroBias == (1 << 16) + (1 << 15));

// Twice what a start subtracts.
inline int32_t doubled(int32_t start) {
  return start + (start - kDotBias);
}

// What the dot of a step (or of its half) starts from.
template <int kHalf, class Step>
I dot_start(const Step& s, const ActBlock& x) {
  if constexpr (Step::kOffset == Offset::zero) return s.start;
  if constexpr (Step::kOffset == Offset::none) return i_set(kDotBias);
  if constexpr (Step::kOffset == Offset::by_1) return i_set(kDotBias + (x.start_8 - kDotBias) / 8);
  if constexpr (Step::kOffset == Offset::by_8) return i_set(x.start_8);
  if constexpr (Step::kOffset == Offset::by_16) return i_set(doubled(x.start_8));
  if constexpr (Step::kOffset == Offset::sign) return start_signed(x);
  const int32_t half_32 = kHalf == 0 ? x.start_lo_32 : x.start_hi_32;
  if constexpr (Step::kOffset == Offset::by_32) return i_set(half_32);
  return i_set(Step::kScales == 1 ? x.start_64 : doubled(half_32));
}

// What its products have added up to, in the same form as what it started from.
template <class Step>
I dot_end(const Step& s, const ActBlock& x, I dot) {
  if constexpr (Step::kOffset == Offset::zero) {
    return f_bits(f_fma(s.zero, i_bits(i_set(x.start_128)), i_bits(dot)));
  } else {
    return dot;
  }
}

// Unpacked steps of panels, `stride` apart, as add_step reads them.
template <class Step_>
struct Unpacked {
  using Step = Step_;
  const Step* steps;
  int64_t stride;
  const Step& step(int p) const { return steps[p * stride]; }
  void fetch(int) const {}
};

// The part of add_step that half kHalf of the steps makes.
template <int kHalf, class Steps, int kPanels, int kColumns>
[[gnu::always_inline]] inline void add_dots(const Steps& s, const ActBlock* const (&x)[kColumns],
                                            int64_t i, F (&acc)[kPanels][kColumns]) {
  using Step = typename Steps::Step;
  constexpr int kWords = 8 / Step::kScales;
  Dot<(Step::kExact < kWords ? Step::kExact : kWords)> dot[kPanels][kColumns];
  LM_UNROLL
  for (int c = 0; c < kColumns; ++c) {
    LM_UNROLL
    for (int p = 0; p < kPanels; ++p) dot[p][c].start(dot_start<kHalf>(s.step(p), x[c][i]));
  }
  LM_UNROLL
  for (int word = 0; word < kWords; ++word) {
    s.fetch(kHalf * kWords + word);
    I w[kPanels];
    LM_UNROLL
    for (int p = 0; p < kPanels; ++p) w[p] = s.step(p).w[kHalf * kWords + word];
    LM_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      const I activations = i_set4(x[c][i].q + 4 * (kHalf * kWords + word));
      LM_UNROLL
      for (int p = 0; p < kPanels; ++p) dot[p][c].add(word, w[p], activations);
    }
  }
  F scale[kPanels], unbias[kPanels];
  LM_UNROLL
  for (int p = 0; p < kPanels; ++p) {
    scale[p] = s.step(p).scale[kHalf];
    unbias[p] = s.step(p).unbias[kHalf];
  }
  LM_UNROLL
  for (int c = 0; c < kColumns; ++c) {
    const F d = f_set(x[c][i].d);
    LM_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      const I end = dot_end(s.step(p), x[c][i], dot[p][c].end());
      const F sum = scaled_dot(end, scale[p], unbias[p]);
      acc[p][c] = f_fma(sum, d, acc[p][c]);
    }
  }
  if constexpr (kHalf + 1 < Step::kScales) add_dots<kHalf + 1>(s, x, i, acc);
}

// acc[p][c] += step p · x_c[i].
template <class Steps, int kPanels, int kColumns>
[[gnu::always_inline]] inline void add_step(const Steps& s, const ActBlock* const (&x)[kColumns],
                                            int64_t i, F (&acc)[kPanels][kColumns]) {
  add_dots<0>(s, x, i, acc);
  LM_UNROLL
  for (int f = 0; f < Steps::Step::kFloors; ++f) {
    F floor[kPanels];
    LM_UNROLL
    for (int p = 0; p < kPanels; ++p) floor[p] = s.step(p).floor[f];
    LM_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      const F sum = f_set(f == 0 ? x[c][i].d_sum : x[c][i].d_sum_hi);
      LM_UNROLL
      for (int p = 0; p < kPanels; ++p) acc[p][c] = f_fma(floor[p], sum, acc[p][c]);
    }
  }
}

template <class Steps, int kPanels, int kColumns>
[[gnu::always_inline]] inline void add_step(const Steps& s, const float* const (&x)[kColumns],
                                            int64_t i, F (&acc)[kPanels][kColumns]) {
  s.fetch(0);
  F w[kPanels];
  LM_UNROLL
  for (int p = 0; p < kPanels; ++p) w[p] = s.step(p).w;
  LM_UNROLL
  for (int c = 0; c < kColumns; ++c) {
    const F v = f_set(x[c][i]);
    LM_UNROLL
    for (int p = 0; p < kPanels; ++p) acc[p][c] = f_fma(w[p], v, acc[p][c]);
  }
}

}  // namespace
}  // namespace lm::cpu
