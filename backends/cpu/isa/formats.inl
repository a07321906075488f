// backends/cpu/isa/formats.inl — formats whose blocks are one step of K: plain numbers, and
// integers with a scale for 32. A format says how a step is unpacked for kLanes rows; steps.inl has
// what is done with it. Block layouts: quant/blocks.h, interleaved as kernels.h says.

namespace lm::cpu {
namespace {

// Weights as numbers: a step is one k.
template <int kBytes, F (*kLoad)(const void*)>
struct FloatFormat {
  static constexpr int kStep = 1, kStepsPerBlock = 1;
  static constexpr bool kStreamsColumns = true;
  static constexpr int kBlockBytes = kBytes * kLanes;
  using Step = FloatStep;
  template <int>
  static void unpack(const uint8_t* block, Step& s) {
    s.w = kLoad(block);
  }
};
F load_f32(const void* p) {
  return f_load(static_cast<const float*>(p));
}
using FormatF32 = FloatFormat<4, load_f32>;
using FormatF16 = FloatFormat<2, f_load_f16>;
using FormatBf16 = FloatFormat<2, f_load_bf16>;

// Weights as small integers with a scale: a step is 32 of K, one ActBlock. The formats that most
// files are made of have kernels of their own for a few columns (kStreamsColumns): each costs the
// compiler.
struct IntFormat {
  static constexpr int kStep = 32;
  static constexpr bool kStreamsColumns = false;
};
constexpr int kWord = 4 * kLanes;  // bytes of one vector: 4 weights (or 8 nibbles) of every row

// To the left, or by a negative number to the right.
template <int kBits>
I i_shift(I a) {
  if constexpr (kBits > 0) return i_shl<kBits>(a);
  if constexpr (kBits < 0) return i_shr<-kBits>(a);
  return a;
}

// w = d · q
struct FormatQ8_0 : IntFormat {
  static constexpr bool kStreamsColumns = true;
  static constexpr int kStepsPerBlock = 1, kBlockBytes = 34 * kLanes;
  using Step = IntStep<0, Offset::sign>;
  template <int>
  static void unpack(const uint8_t* block, Step& s) {
    s.scale[0] = f_load_f16(block);
    for (int j = 0; j < 8; ++j) s.w[j] = signed_weights(i_load(block + 2 * kLanes + j * kWord));
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
  static constexpr bool kStreamsColumns = true;
  static constexpr int kStepsPerBlock = 1, kBlockBytes = 18 * kLanes;
  using Step = IntStep<8, Offset::by_8>;
  template <int>
  static void unpack(const uint8_t* block, Step& s) {
    s.scale[0] = f_load_f16(block);
    unpack_halves(block + 2 * kLanes, s.w);
  }
};

// w = d · q + m
struct FormatQ4_1 : IntFormat {
  static constexpr int kStepsPerBlock = 1, kBlockBytes = 20 * kLanes;
  using Step = IntStep<8, Offset::none, 1, 1>;
  template <int>
  static void unpack(const uint8_t* block, Step& s) {
    s.scale[0] = f_load_f16(block);
    s.floor[0] = f_load_f16(block + 2 * kLanes);
    unpack_halves(block + 4 * kLanes, s.w);
  }
};

// Like unpack_halves, with bit 4 of element i in bit i of a word before the nibbles.
void unpack_fifth_bits(const uint8_t* words, I* w) {
  const I high = i_load(words);
  unpack_halves(words + kWord, w);
  for (int j = 0; j < 8; ++j) w[j] = i_or(w[j], spread_bits(high, j));
}

// w = d · (q - 16)
struct FormatQ5_0 : IntFormat {
  static constexpr int kStepsPerBlock = 1, kBlockBytes = 22 * kLanes;
  using Step = IntStep<4, Offset::by_16>;
  template <int>
  static void unpack(const uint8_t* block, Step& s) {
    s.scale[0] = f_load_f16(block);
    unpack_fifth_bits(block + 2 * kLanes, s.w);
  }
};

// w = d · q + m
struct FormatQ5_1 : IntFormat {
  static constexpr int kStepsPerBlock = 1, kBlockBytes = 24 * kLanes;
  using Step = IntStep<4, Offset::none, 1, 1>;
  template <int>
  static void unpack(const uint8_t* block, Step& s) {
    s.scale[0] = f_load_f16(block);
    s.floor[0] = f_load_f16(block + 2 * kLanes);
    unpack_fifth_bits(block + 4 * kLanes, s.w);
  }
};

// z of kLanes rows: at most 16, but a damaged file may hold any byte. Sums are exact up to 31,
// for few columns and for many, so that they agree on damage too.
inline I group_zeros(const uint8_t* z) {
  return i_and(i_load_u8(z), i_set(31));
}

// w = d · (q - z) for a group of kGroup. z costs each column a multiplication, or each weight, once
// for all columns, an addition, where signed weights cost no more than others.
template <int kGroup>
struct FormatI4g : IntFormat {
  static constexpr bool kStreamsColumns = kGroup == 128;
  static constexpr int kStepsPerBlock = kGroup / 32, kBlockBytes = (3 + kGroup / 2) * kLanes;
  using Step = ZeroStep;
  using ManyStep = std::conditional_t<kSignedIsFree, FormatQ8_0::Step, ZeroStep>;
  template <int kSub>
  static void unpack(const uint8_t* block, ZeroStep& s) {
    s.scale[0] = f_load_f16(block);
    s.set_zero(group_zeros(block + 2 * kLanes));
    unpack_halves(block + 3 * kLanes + kSub * 4 * kWord, s.w);
  }
  template <int kSub>
  static void unpack(const uint8_t* block, FormatQ8_0::Step& s) {
    s.scale[0] = f_load_f16(block);
    const I rest = i_sub(i_set(128), group_zeros(block + 2 * kLanes));
    const I pair = i_or(rest, i_shl<8>(rest)), bytes = i_or(pair, i_shl<16>(pair));
    unpack_halves(block + 3 * kLanes + kSub * 4 * kWord, s.w);
    // No sum reaches 256: bytes do not meet.
    for (I& w : s.w) w = signed_weights(i_xor(i_add(w, bytes), i_set(int32_t(0x80808080))));
  }
};

// w = d · kIq4Values[q]: 16 unevenly spaced levels.
struct FormatIq4_NL : IntFormat {
  static constexpr int kStepsPerBlock = 1, kBlockBytes = 18 * kLanes;
  using Step = IntStep<0, Offset::sign>;
  template <int>
  static void unpack(const uint8_t* block, Step& s) {
    s.scale[0] = f_load_f16(block);
    unpack_halves(block + 2 * kLanes, s.w);
    for (I& w : s.w) w = lookup_signed(kIq4Values, w);
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
    s.scale[0] = f_mul(low, high);
    unpack_halves(block + kLanes, s.w);
    for (I& w : s.w) w = lookup_signed(kMxfp4DoubledValues, w);
  }
};

}  // namespace
}  // namespace lm::cpu
