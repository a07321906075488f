// backends/cpu/isa/formats_k.inl — formats whose blocks are 256 of K: eight steps of 32, with small
// integer scales below the block's own. See formats.inl.

namespace lm::cpu {
namespace {

// w = d · scale · q - dmin · min; 8 sub-blocks of 32, two in each 32 bytes of nibbles.
struct FormatQ4_K : IntFormat {
  static constexpr bool kStreamsColumns = true;
  static constexpr int kStepsPerBlock = 8, kBlockBytes = 144 * kLanes;
  using Step = IntStep<8, Offset::none, 1, 1>;
  // The 6-bit scales and mins of 8 sub-blocks lie in 12 bytes: 0..3 in the low 6 bits of words 0
  // and 1; 4..7 have 4 bits in word 2 and their upper 2 bits on top of words 0 and 1.
  template <int kSub>
  static void unpack_scales(const uint8_t* words, I& scale, I& min) {
    const I u0 = i_load(words), u1 = i_load(words + kWord), u2 = i_load(words + 2 * kWord);
    constexpr int kShift = 8 * (kSub % 4);
    if constexpr (kSub < 4) {
      scale = i_and(i_shr<kShift>(u0), i_set(63));
      min = i_and(i_shr<kShift>(u1), i_set(63));
    } else {
      const I low = i_set(15), high = i_set(0x30);
      scale = i_or(i_and(i_shr<kShift>(u2), low), i_and(i_shr<kShift + 2>(u0), high));
      min = i_or(i_and(i_shr<kShift + 4>(u2), low), i_and(i_shr<kShift + 2>(u1), high));
    }
  }
  template <int kSub>
  static void unpack_factors(const uint8_t* block, F& scale, F& floor) {
    I q, min;
    unpack_scales<kSub>(block + 4 * kLanes, q, min);
    scale = f_mul(f_load_f16(block), f_from_i(q));
    floor = f_mul(f_load_f16(block + 2 * kLanes), f_from_i(i_sub(i_set(0), min)));
  }
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    unpack_factors<kSub>(block, s.scale[0], s.floor[0]);
    const uint8_t* words = block + 4 * kLanes + (3 + kSub / 2 * 8) * kWord;
    const I nibble = i_set(0x0F0F0F0F);
    for (int j = 0; j < 8; ++j)
      s.w[j] = i_and(i_shr<kSub % 2 * 4>(i_load(words + j * kWord)), nibble);
  }
};

// Q4_K with a fifth bit: bit s of byte i of qh belongs to element i of sub-block s.
struct FormatQ5_K : IntFormat {
  static constexpr bool kStreamsColumns = true;
  static constexpr int kStepsPerBlock = 8, kBlockBytes = 176 * kLanes;
  using Step = IntStep<4, Offset::none, 1, 1>;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    FormatQ4_K::unpack_factors<kSub>(block, s.scale[0], s.floor[0]);
    const uint8_t* high = block + 4 * kLanes + 3 * kWord;
    const uint8_t* low = high + (8 + kSub / 2 * 8) * kWord;
    for (int j = 0; j < 8; ++j) {
      const I bit = i_and(i_shr<kSub>(i_load(high + j * kWord)), i_set(0x01010101));
      const I nibble = i_and(i_shr<kSub % 2 * 4>(i_load(low + j * kWord)), i_set(0x0F0F0F0F));
      s.w[j] = i_or(nibble, i_shl<4>(bit));
    }
  }
};

// w = d · scale · (q - 32); 16 sub-blocks of 16; 4 bits of q in ql, 2 in qh. A step is two of them.
struct FormatQ6_K : IntFormat {
  static constexpr bool kStreamsColumns = true;
  static constexpr int kStepsPerBlock = 8, kBlockBytes = 210 * kLanes;
  using Step = IntStep<2, Offset::by_32, 2>;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    constexpr int kHalf = kSub / 4, kQuarter = kSub % 4;
    const uint8_t* low = block + (kHalf * 16 + kQuarter % 2 * 8) * kWord;
    const uint8_t* high = block + (32 + kHalf * 8) * kWord;
    for (int j = 0; j < 8; ++j) {
      const I l = i_and(i_shr<kQuarter / 2 * 4>(i_load(low + j * kWord)), i_set(0x0F0F0F0F));
      // Bits 2 · kQuarter of a byte become bits 4.
      I h = i_load(high + j * kWord);
      if constexpr (kQuarter < 2) h = i_shl<4 - 2 * kQuarter>(h);
      if constexpr (kQuarter > 2) h = i_shr<2 * kQuarter - 4>(h);
      s.w[j] = i_or(l, i_and(h, i_set(0x30303030)));
    }
    const I scales = i_load(block + (48 + kSub / 2) * kWord);  // 4 signed bytes, ours are 2
    const F d = f_load_f16(block + 52 * kWord);
    s.scale[0] = f_mul(d, f_from_i(i_sar<24>(i_shl<24 - kSub % 2 * 16>(scales))));
    s.scale[1] = f_mul(d, f_from_i(i_sar<24>(i_shl<16 - kSub % 2 * 16>(scales))));
  }
};

// Two bits of q in each of four sub-steps that share 32 bytes; a step is two sub-blocks of 16.
template <int kSub>
I two_bits(const uint8_t* words, int j) {
  return i_and(i_shr<kSub % 4 * 2>(i_load(words + (kSub / 4 * 8 + j) * kWord)), i_set(0x03030303));
}

// w = d · (scale - 32) · (q - 4), where bit 2 of q lies apart: bit s of byte i of hmask belongs to
// element i of step s. Computed as d/8 · (scale - 32) · (8q - 32), which shares Q6_K's offset.
struct FormatQ3_K : IntFormat {
  static constexpr int kStepsPerBlock = 8, kBlockBytes = 110 * kLanes;
  using Step = FormatQ6_K::Step;
  // 6-bit scale kIndex of 16: 4 bits in bytes 0..7, the upper 2 in bytes 8..11.
  template <int kIndex>
  static F scale(const uint8_t* words) {
    constexpr int kByte = kIndex % 4 * 8;
    const I low = i_shr<kByte + kIndex / 8 * 4>(i_load(words + kIndex % 8 / 4 * kWord));
    const I high = i_shr<kByte + kIndex / 4 * 2>(i_load(words + 2 * kWord));
    const I both = i_or(i_and(low, i_set(15)), i_shl<4>(i_and(high, i_set(3))));
    return f_from_i(i_sub(both, i_set(32)));
  }
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const uint8_t* low = block + (8 + kSub / 4 * 8) * kWord;
    for (int j = 0; j < 8; ++j) {
      const I bit = i_and(i_shift<5 - kSub>(i_load(block + j * kWord)), i_set(0x20202020));
      const I two = i_and(i_shift<3 - kSub % 4 * 2>(i_load(low + j * kWord)), i_set(0x18181818));
      s.w[j] = i_or(bit, two);
    }
    const F d = f_mul(f_load_f16(block + 27 * kWord), f_set(0.125f));
    s.scale[0] = f_mul(d, scale<2 * kSub>(block + 24 * kWord));
    s.scale[1] = f_mul(d, scale<2 * kSub + 1>(block + 24 * kWord));
  }
};

// w = d · scale · q - dmin · min, for 16 elements; a byte holds scale (low nibble) and min.
struct FormatQ2_K : IntFormat {
  static constexpr int kStepsPerBlock = 8, kBlockBytes = 84 * kLanes;
  using Step = IntStep<8, Offset::none, 2, 2>;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    constexpr int kByte = kSub % 2 * 16;
    const I scales = i_load(block + kSub / 2 * kWord), nibble = i_set(15);
    const F d = f_load_f16(block + 20 * kWord);
    const F dmin = f_load_f16(block + 20 * kWord + 2 * kLanes);
    s.scale[0] = f_mul(d, f_from_i(i_and(i_shr<kByte>(scales), nibble)));
    s.scale[1] = f_mul(d, f_from_i(i_and(i_shr<kByte + 8>(scales), nibble)));
    const I min_lo = i_and(i_shr<kByte + 4>(scales), nibble);
    const I min_hi = i_and(i_shr<kByte + 12>(scales), nibble);
    s.floor[0] = f_mul(dmin, f_from_i(i_sub(i_set(0), min_lo)));
    s.floor[1] = f_mul(dmin, f_from_i(i_sub(min_lo, min_hi)));
    for (int j = 0; j < 8; ++j) s.w[j] = two_bits<kSub>(block + 4 * kWord, j);
  }
};

// w = d · (scale - 32) · kIq4Values[q]; 8 sub-blocks of 32 in halves order. The 6-bit scales have
// their low nibbles in scales_l (two a byte), their upper 2 bits in scales_h.
struct FormatIq4_XS : IntFormat {
  static constexpr int kStepsPerBlock = 8, kBlockBytes = 136 * kLanes;
  using Step = FormatIq4_NL::Step;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const I low = i_and(i_shr<4 * kSub>(i_load(block + 4 * kLanes)), i_set(15));
    const I high = i_and(i_shr<2 * kSub>(i_load_u16(block + 2 * kLanes)), i_set(3));
    const I scale = i_sub(i_or(low, i_shl<4>(high)), i_set(32));
    s.scale[0] = f_mul(f_load_f16(block), f_from_i(scale));
    unpack_halves(block + 4 * kLanes + (1 + 4 * kSub) * kWord, s.w);
    for (I& w : s.w) w = lookup_signed(kIq4Values, w);
  }
};

}  // namespace
}  // namespace lm::cpu
