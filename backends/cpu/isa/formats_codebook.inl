// backends/cpu/isa/formats_codebook.inl — formats whose weights must be looked up or taken apart:
// the IQ code books and the ternary formats. Layouts: quant/blocks.h.

namespace lm::cpu {
namespace {

// w = scale · (q - 64), q in 2..126, with one scale or one for each half of a step.
struct CodebookFormat : IntFormat {
  static constexpr int kStepsPerBlock = 8;
  using Step = IntStep<1, Offset::by_64>;
};
struct TwoScaleFormat : CodebookFormat {
  using Step = IntStep<1, Offset::by_64, 2>;
};

// Byte (16 bits) kIndex of a run of words in every lane.
template <int kIndex>
I byte_at(const uint8_t* words) {
  return i_and(i_shr<kIndex % 4 * 8>(i_load(words + kIndex / 4 * kWord)), i_set(0xFF));
}
template <int kIndex>
I half_at(const uint8_t* words) {
  return i_and(i_shr<kIndex % 2 * 16>(i_load(words + kIndex / 2 * kWord)), i_set(0xFFFF));
}

// d · (2 · four_bits + 1)
F odd_scale(F d, I bits) {
  return f_mul(d, f_from_i(i_add(i_shl<1>(bits), i_set(1))));
}
F scaled_half(const uint8_t* half, float factor) {
  return f_mul(f_load_f16(half), f_set(factor));
}

// 64 + m, or 64 - m where bit 4j + b of `signs` is set, for the bytes b of magnitudes <= 62.
I signed_bytes(I magnitudes, I signs, int j) {
  const I negative = i_and(magnitudes, byte_mask(signs, j));
  return i_sub(i_add(magnitudes, i_set(0x40404040)), i_shl<1>(negative));
}

// Four groups of seven bits become bytes whose eighth bit makes the number of ones even.
I even_signs(I seven) {
  const I pairs = i_xor(seven, i_shr<1>(seven));
  const I fours = i_xor(pairs, i_shr<2>(pairs));
  const I odd = i_xor(i_xor(fours, i_shr<4>(pairs)), i_shr<6>(seven));  // bits 0, 7, 14, 21
  const I first = i_or(i_and(seven, i_set(0x7F)), i_and(i_shl<7>(odd), i_set(0x80)));
  const I second = i_or(i_and(i_shl<1>(seven), i_set(0x7F00)), i_and(i_shl<8>(odd), i_set(0x8000)));
  const I third =
      i_or(i_and(i_shl<2>(seven), i_set(0x7F0000)), i_and(i_shl<9>(odd), i_set(0x800000)));
  const I fourth = i_or(i_and(i_shl<3>(seven), i_set(0x7F000000)),
                        i_and(i_shl<10>(odd), i_set(int32_t(0x80000000))));
  return i_or(i_or(first, second), i_or(third, fourth));
}

// Words 2r and 2r + 1 of a step: row `index` of a grid of eight bytes.
template <class Grid>
void signed_row_of_8(const Grid& grid, I index, I signs, int r, I* w) {
  I first, second;
  gather_pair(grid.rows, index, first, second);
  w[2 * r] = signed_bytes(first, signs, 2 * r);
  w[2 * r + 1] = signed_bytes(second, signs, 2 * r + 1);
}

struct FormatIq2_XXS : CodebookFormat {
  static constexpr int kBlockBytes = 66 * kLanes;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const uint8_t* indices = block + 2 * kLanes + 2 * kSub * kWord;
    const I packed = i_load(indices + kWord), signs = even_signs(packed);
    signed_row_of_8(kIq2XxsGrid, byte_at<0>(indices), signs, 0, s.w);
    signed_row_of_8(kIq2XxsGrid, byte_at<1>(indices), signs, 1, s.w);
    signed_row_of_8(kIq2XxsGrid, byte_at<2>(indices), signs, 2, s.w);
    signed_row_of_8(kIq2XxsGrid, byte_at<3>(indices), signs, 3, s.w);
    s.scale[0] = odd_scale(scaled_half(block, 0.125f), i_shr<28>(packed));
  }
};

// Two scales of four bits in a byte, for the halves of a step.
template <int kSub>
void two_scales(F d, const uint8_t* scales, TwoScaleFormat::Step& s) {
  const I both = byte_at<kSub>(scales);
  s.scale[0] = odd_scale(d, i_and(both, i_set(15)));
  s.scale[1] = odd_scale(d, i_shr<4>(both));
}

struct FormatIq2_XS : TwoScaleFormat {
  static constexpr int kBlockBytes = 74 * kLanes;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const uint8_t* words = block + 2 * kLanes;
    const I q[4] = {half_at<4 * kSub>(words), half_at<4 * kSub + 1>(words),
                    half_at<4 * kSub + 2>(words), half_at<4 * kSub + 3>(words)};
    const I low = i_or(i_shr<9>(q[0]), i_shl<7>(i_shr<9>(q[1])));
    const I high = i_or(i_shl<14>(i_shr<9>(q[2])), i_shl<21>(i_shr<9>(q[3])));
    const I signs = even_signs(i_or(low, high));
    for (int r = 0; r < 4; ++r) {
      signed_row_of_8(kIq2XsGrid, i_and(q[r], i_set(511)), signs, r, s.w);
    }
    two_scales<kSub>(scaled_half(block, 0.125f), words + 16 * kWord, s);
  }
};

struct FormatIq2_S : TwoScaleFormat {
  static constexpr int kBlockBytes = 82 * kLanes;
  template <int kSub, int kRow>
  static void unpack_row(const uint8_t* words, I signs, Step& s) {
    const I low = byte_at<4 * kSub + kRow>(words);
    const I high = i_and(i_shr<2 * kRow>(byte_at<kSub>(words + 16 * kWord)), i_set(3));
    signed_row_of_8(kIq2SGrid, i_or(low, i_shl<8>(high)), signs, kRow, s.w);
  }
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const uint8_t* words = block + 2 * kLanes;
    const I signs = i_load(words + (8 + kSub) * kWord);
    unpack_row<kSub, 0>(words, signs, s);
    unpack_row<kSub, 1>(words, signs, s);
    unpack_row<kSub, 2>(words, signs, s);
    unpack_row<kSub, 3>(words, signs, s);
    two_scales<kSub>(scaled_half(block, 0.125f), words + 18 * kWord, s);
  }
};

// Bytes 0..7 of two words: the indices of grid rows of four.
template <int kRow = 0>
void indices_of_4(const uint8_t* words, I* index) {
  index[kRow] = byte_at<kRow>(words);
  if constexpr (kRow < 7) indices_of_4<kRow + 1>(words, index);
}

struct FormatIq3_XXS : CodebookFormat {
  static constexpr int kBlockBytes = 98 * kLanes;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const uint8_t* words = block + 2 * kLanes;
    const I packed = i_load(words + (16 + kSub) * kWord), signs = even_signs(packed);
    I index[8];
    indices_of_4(words + 2 * kSub * kWord, index);
    for (int j = 0; j < 8; ++j) {
      s.w[j] = signed_bytes(gather(kIq3XxsGrid.rows, index[j]), signs, j);
    }
    s.scale[0] = odd_scale(scaled_half(block, 0.25f), i_shr<28>(packed));
  }
};

struct FormatIq3_S : CodebookFormat {
  static constexpr int kBlockBytes = 110 * kLanes;
  template <int kRow = 0>
  static void add_ninth_bits(I high, I* index) {
    index[kRow] = i_or(index[kRow], i_shl<8>(i_and(i_shr<kRow>(high), i_set(1))));
    if constexpr (kRow < 7) add_ninth_bits<kRow + 1>(high, index);
  }
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const uint8_t* words = block + 2 * kLanes;
    const I signs = i_load(words + (18 + kSub) * kWord);
    I index[8];
    indices_of_4(words + 2 * kSub * kWord, index);
    add_ninth_bits(byte_at<kSub>(words + 16 * kWord), index);
    for (int j = 0; j < 8; ++j) {
      s.w[j] = signed_bytes(gather(kIq3SGrid.rows, index[j]), signs, j);
    }
    const I scale = i_shr<kSub % 2 * 4>(byte_at<kSub / 2>(words + 26 * kWord));
    s.scale[0] = odd_scale(f_load_f16(block), i_and(scale, i_set(15)));
  }
};

// Words 2r and 2r + 1: 64 + 8g + 1, or - 1 where the lane of `down` is 1, for g in {-1, 0, 1}.
void iq1_row(I index, I down, int r, I* w) {
  const I three = i_set(0x03030303), one = i_set(0x01010101);
  const I bytes = i_sub(i_set(0x39393939), i_and(i_sub(i_set(0), down), i_set(0x02020202)));
  I words[2];
  gather_pair(kIq1Grid.rows, index, words[0], words[1]);
  for (int j = 0; j < 2; ++j) {
    const I grid = i_and(words[j], three);
    const I g_plus_1 = i_and(i_add(grid, one), three);
    w[2 * r + j] = i_add(bytes, i_shl<3>(g_plus_1));
  }
}

struct FormatIq1_S : CodebookFormat {
  static constexpr int kBlockBytes = 50 * kLanes;
  template <int kSub, int kRow>
  static void unpack_row(const uint8_t* words, I high, Step& s) {
    const I top = i_and(i_shr<3 * kRow>(high), i_set(7));
    iq1_row(i_or(byte_at<4 * kSub + kRow>(words), i_shl<8>(top)), i_shr<15>(high), kRow, s.w);
  }
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const uint8_t* words = block + 2 * kLanes;
    const I high = half_at<kSub>(words + 8 * kWord);
    unpack_row<kSub, 0>(words, high, s);
    unpack_row<kSub, 1>(words, high, s);
    unpack_row<kSub, 2>(words, high, s);
    unpack_row<kSub, 3>(words, high, s);
    const I scale = i_and(i_shr<12>(high), i_set(7));
    s.scale[0] = odd_scale(scaled_half(block, 0.125f), scale);
  }
};

struct FormatIq1_M : TwoScaleFormat {
  static constexpr int kBlockBytes = 56 * kLanes;
  template <int kSub, int kRow>
  static void unpack_row(const uint8_t* words, I high, Step& s) {
    const I nibble = i_shr<4 * kRow>(high);
    const I index = i_or(byte_at<4 * kSub + kRow>(words), i_shl<8>(i_and(nibble, i_set(7))));
    iq1_row(index, i_and(i_shr<3>(nibble), i_set(1)), kRow, s.w);
  }
  // The top nibbles of four halves, together a half.
  static F d(const uint8_t* scales) {
    const I first = i_load(scales), second = i_load(scales + kWord);
    const I low = i_or(i_and(i_shr<12>(first), i_set(0xF)), i_and(i_shr<24>(first), i_set(0xF0)));
    const I high =
        i_or(i_and(i_shr<4>(second), i_set(0xF00)), i_and(i_shr<16>(second), i_set(0xF000)));
    return f_from_half_bits(i_or(low, high));
  }
  template <int kSub>
  static void unpack(const uint8_t* words, Step& s) {
    const I high = half_at<kSub>(words + 8 * kWord);
    unpack_row<kSub, 0>(words, high, s);
    unpack_row<kSub, 1>(words, high, s);
    unpack_row<kSub, 2>(words, high, s);
    unpack_row<kSub, 3>(words, high, s);
    const F eighth = f_mul(d(words + 12 * kWord), f_set(0.125f));
    const I scales = i_shr<kSub % 2 * 6>(half_at<kSub / 2>(words + 12 * kWord));
    s.scale[0] = odd_scale(eighth, i_and(scales, i_set(7)));
    s.scale[1] = odd_scale(eighth, i_and(i_shr<3>(scales), i_set(7)));
  }
};

// w = d · (q - 1), q in 0..3.
struct TernaryFormat : IntFormat {
  static constexpr int kStepsPerBlock = 8;
  using Step = IntStep<8, Offset::by_1>;
};

// Digit kDigit of each byte, a fraction of 256 in base 3: what 3 times the fraction has before the
// point, after kDigit times 3. Bytes at even places are worked on in the upper half of 16 bits.
template <int kDigit>
I ternary_digit(I bytes) {
  constexpr int kPowers[] = {1, 3, 9, 27, 81}, kPower = kPowers[kDigit];
  constexpr int kTwice = 0x10001;  // a number in both halves
  const I even = mul_halves(bytes, i_set(kTwice * (kPower << 8)));
  const I odd = mul_halves(i_and(bytes, i_set(int32_t(0xFF00FF00))), i_set(kTwice * kPower));
  return i_or(mul_halves_high(even, i_set(kTwice * 3)),
              i_and(mul_halves_high(odd, i_set(kTwice * (3 << 8))), i_set(0x03000300)));
}

// The digits of 32 bytes make steps 0..4, of 16 bytes steps 5..7 and a half, of 4 bytes the rest.
struct FormatTq1_0 : TernaryFormat {
  static constexpr int kBlockBytes = 54 * kLanes;
  template <int kDigit>
  static I digit(const uint8_t* word) {
    return ternary_digit<kDigit>(i_load(word));
  }
  template <class Digits, int kDigit>
  static void digits(const uint8_t* words, int n, I* w) {
    for (int j = 0; j < n; ++j) w[j] = Digits::template digit<kDigit>(words + j * kWord);
  }
  // As `Digits` finds digit kDigit of a word.
  template <class Digits, int kSub>
  static void unpack_digits(const uint8_t* block, Step& s) {
    if constexpr (kSub < 5) {
      digits<Digits, kSub>(block, 8, s.w);
    } else if constexpr (kSub < 7) {
      digits<Digits, 2 * (kSub - 5)>(block + 8 * kWord, 4, s.w);
      digits<Digits, 2 * (kSub - 5) + 1>(block + 8 * kWord, 4, s.w + 4);
    } else {
      digits<Digits, 4>(block + 8 * kWord, 4, s.w);
      digits<Digits, 0>(block + 12 * kWord, 1, s.w + 4);
      digits<Digits, 1>(block + 12 * kWord, 1, s.w + 5);
      digits<Digits, 2>(block + 12 * kWord, 1, s.w + 6);
      digits<Digits, 3>(block + 12 * kWord, 1, s.w + 7);
    }
    s.scale[0] = f_load_f16(block + 13 * kWord);
  }
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    unpack_digits<FormatTq1_0, kSub>(block, s);
  }
};

struct FormatTq2_0 : TernaryFormat {
  static constexpr int kBlockBytes = 66 * kLanes;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    for (int j = 0; j < 8; ++j) s.w[j] = two_bits<kSub>(block, j);
    s.scale[0] = f_load_f16(block + 16 * kWord);
  }
};

}  // namespace
}  // namespace lm::cpu
