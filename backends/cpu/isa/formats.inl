// backends/cpu/isa/formats.inl — formats whose blocks are one step of K: plain numbers, and
// integers with a scale for 32. A format says how a step is unpacked for kLanes rows (`unpack`) and
// how it is applied to one column (`apply`). Block layouts: quant/blocks.h, interleaved as
// kernels.h says.

namespace lm::cpu {
namespace {

// Weights as numbers: a step is one k.
template <int kBytes, F (*kLoad)(const void*)>
struct FloatFormat {
  using Column = float;
  static constexpr int kStep = 1, kStepsPerBlock = 1;
  static constexpr int kBlockBytes = kBytes * kLanes;
  struct Step {
    F w;
  };
  template <int>
  static void unpack(const uint8_t* block, Step& s) {
    s.w = kLoad(block);
  }
  static F apply(const Step& s, const float& x, F acc) { return f_fma(s.w, f_set(x), acc); }
};
F load_f32(const void* p) {
  return f_load(static_cast<const float*>(p));
}
using FormatF32 = FloatFormat<4, load_f32>;
using FormatF16 = FloatFormat<2, f_load_f16>;
using FormatBf16 = FloatFormat<2, f_load_bf16>;

// Weights as small integers with a scale: a step is 32 of K, one ActBlock.
struct IntFormat {
  using Column = ActBlock;
  static constexpr int kStep = 32;
};
constexpr int kWord = 4 * kLanes;  // bytes of one vector: 4 weights (or 8 nibbles) of every row

// w = d · q
struct FormatQ8_0 : IntFormat {
  static constexpr int kStepsPerBlock = 1, kBlockBytes = 34 * kLanes;
  struct Step {
    I w[8];
    F d;
  };
  template <int>
  static void unpack(const uint8_t* block, Step& s) {
    s.d = f_load_f16(block);
    for (int j = 0; j < 8; ++j) s.w[j] = i_load(block + 2 * kLanes + j * kWord);
  }
  static F apply(const Step& s, const ActBlock& x, F acc) {
    return f_fma(f_from_i(dot_s8(s.w, x)), f_mul(s.d, f_set(x.d)), acc);
  }
};

// Eight words of nibbles in halves order: byte i holds element i (low) and i + 16.
void unpack_halves(const uint8_t* words, I* w) {
  const I nibble = i_set(0x0F0F0F0F);
  for (int j = 0; j < 4; ++j) {
    const I bytes = i_load(words + j * kWord);
    w[j] = i_and(bytes, nibble);
    w[j + 4] = i_and(i_shr<4>(bytes), nibble);
  }
}

// w = d · (q - 8)
struct FormatQ4_0 : IntFormat {
  static constexpr int kStepsPerBlock = 1, kBlockBytes = 18 * kLanes;
  struct Step {
    I w[8];
    F d;
  };
  template <int>
  static void unpack(const uint8_t* block, Step& s) {
    s.d = f_load_f16(block);
    unpack_halves(block + 2 * kLanes, s.w);
  }
  static F apply(const Step& s, const ActBlock& x, F acc) {
    const I dot = dot_u4(i_set(x.minus_sum_8), s.w, x.q);
    return f_fma(f_from_i(dot), f_mul(s.d, f_set(x.d)), acc);
  }
};

// w = d · q + m
struct FormatQ4_1 : IntFormat {
  static constexpr int kStepsPerBlock = 1, kBlockBytes = 20 * kLanes;
  struct Step {
    I w[8];
    F d, m;
  };
  template <int>
  static void unpack(const uint8_t* block, Step& s) {
    s.d = f_load_f16(block);
    s.m = f_load_f16(block + 2 * kLanes);
    unpack_halves(block + 4 * kLanes, s.w);
  }
  static F apply(const Step& s, const ActBlock& x, F acc) {
    const I dot = dot_u4(i_set(0), s.w, x.q);
    const F sum = f_fma(f_from_i(dot), f_mul(s.d, f_set(x.d)), acc);
    return f_fma(s.m, f_set(x.d_sum), sum);
  }
};

// Like unpack_halves, with bit 4 of element i in bit i of a word before the nibbles.
void unpack_fifth_bits(const uint8_t* words, I* w) {
  const I high = i_load(words);
  unpack_halves(words + kWord, w);
  for (int j = 0; j < 8; ++j) w[j] = i_or(w[j], spread_bits(high, j));
}

// Two halves of 16: products of 5 bits stay within what dot_u6 adds exactly.
I dot_u5(I acc, const I* w, const int8_t* x) {
  return dot_u6(dot_u6(acc, w, x), w + 4, x + 16);
}

// w = d · (q - 16)
struct FormatQ5_0 : IntFormat {
  static constexpr int kStepsPerBlock = 1, kBlockBytes = 22 * kLanes;
  struct Step {
    I w[8];
    F d;
  };
  template <int>
  static void unpack(const uint8_t* block, Step& s) {
    s.d = f_load_f16(block);
    unpack_fifth_bits(block + 2 * kLanes, s.w);
  }
  static F apply(const Step& s, const ActBlock& x, F acc) {
    const I offset = i_set(x.minus_sum_8);
    const I dot = dot_u5(i_add(offset, offset), s.w, x.q);
    return f_fma(f_from_i(dot), f_mul(s.d, f_set(x.d)), acc);
  }
};

// w = d · q + m
struct FormatQ5_1 : IntFormat {
  static constexpr int kStepsPerBlock = 1, kBlockBytes = 24 * kLanes;
  struct Step {
    I w[8];
    F d, m;
  };
  template <int>
  static void unpack(const uint8_t* block, Step& s) {
    s.d = f_load_f16(block);
    s.m = f_load_f16(block + 2 * kLanes);
    unpack_fifth_bits(block + 4 * kLanes, s.w);
  }
  static F apply(const Step& s, const ActBlock& x, F acc) {
    const I dot = dot_u5(i_set(0), s.w, x.q);
    const F sum = f_fma(f_from_i(dot), f_mul(s.d, f_set(x.d)), acc);
    return f_fma(s.m, f_set(x.d_sum), sum);
  }
};

// w = d · (q - z) for a group of kGroup
template <int kGroup>
struct FormatI4g : IntFormat {
  static constexpr int kStepsPerBlock = kGroup / 32, kBlockBytes = (3 + kGroup / 2) * kLanes;
  using Step = FormatQ4_1::Step;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    s.d = f_load_f16(block);
    const I minus_z = i_sub(i_set(0), i_load_u8(block + 2 * kLanes));
    s.m = f_mul(s.d, f_from_i(minus_z));
    unpack_halves(block + 3 * kLanes + kSub * 4 * kWord, s.w);
  }
  static F apply(const Step& s, const ActBlock& x, F acc) { return FormatQ4_1::apply(s, x, acc); }
};

// w = d · kIq4Values[q]: 16 unevenly spaced levels.
struct FormatIq4_NL : IntFormat {
  static constexpr int kStepsPerBlock = 1, kBlockBytes = 18 * kLanes;
  struct Step {
    I w[8];
    F d;
  };
  template <int>
  static void unpack(const uint8_t* block, Step& s) {
    s.d = f_load_f16(block);
    unpack_halves(block + 2 * kLanes, s.w);
    for (I& w : s.w) w = lookup(kIq4Values, w);
  }
  static F apply(const Step& s, const ActBlock& x, F acc) {
    return f_fma(f_from_i(dot_s8(s.w, x)), f_mul(s.d, f_set(x.d)), acc);
  }
};

// w = 2^(e - 128) · doubled[q]: the eight E2M1 numbers and their negatives, twice as large.
struct FormatMxfp4 : IntFormat {
  static constexpr int kStepsPerBlock = 1, kBlockBytes = 17 * kLanes;
  using Step = FormatIq4_NL::Step;
  template <int>
  static void unpack(const uint8_t* block, Step& s) {
    // As a product of two powers, so that each is a normal number for every e in 0..255.
    const I e = i_load_u8(block), half = i_shr<1>(e), bias = i_set(63);
    const F low = i_bits(i_shl<23>(i_add(half, bias)));
    const F high = i_bits(i_shl<23>(i_add(i_sub(e, half), bias)));
    s.d = f_mul(low, high);
    unpack_halves(block + kLanes, s.w);
    for (I& w : s.w) w = lookup(kMxfp4DoubledValues, w);
  }
  static F apply(const Step& s, const ActBlock& x, F acc) { return FormatIq4_NL::apply(s, x, acc); }
};

}  // namespace
}  // namespace lm::cpu
