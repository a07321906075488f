// backends/cpu/isa/formats_vbmi.inl — the IQ formats for processors with VBMI and GFNI (Ice Lake,
// Zen 4 and later), where code books fit registers: 64 indices are looked up at once, in the halves
// of the codes rather than in the rows they stand for, and a row's digits and signs become weights
// by one more lookup. Same blocks and same integers as formats_codebook.inl.
// Weights come out turned: in each half of a step, byte b of word p is k = 4b + p (matmul.inl).
// A byte of a code is four 2-bit digits or two 3-bit digits, so that it never has to be spread.

namespace lm::cpu {
namespace {

// ---- code books as planes of bytes ----

// kSize bytes, looked up by indices whose lowest 7 bits are a byte, with masks of the higher ones.
template <int kSize>
struct alignas(64) Plane {
  uint8_t bytes[kSize];
};
template <int kSize>
struct Book {
  Plane<kSize> first, second;  // the first and the second half of each row's digits
};

// 8 digits of 2 bits: four to a byte.
template <int kSize>
constexpr Book<kSize> book_of_8(const uint16_t (&codes)[kSize]) {
  Book<kSize> book{};
  for (int i = 0; i < kSize; ++i) {
    book.first.bytes[i] = uint8_t(codes[i] & 0xFF);
    book.second.bytes[i] = uint8_t(codes[i] >> 8);
  }
  return book;
}
// 4 digits of 3 bits: two to a byte, at bits 0 and 4.
template <int kSize>
constexpr Book<kSize> book_of_4(const uint16_t (&codes)[kSize]) {
  Book<kSize> book{};
  for (int i = 0; i < kSize; ++i) {
    book.first.bytes[i] = uint8_t((codes[i] & 7) | (codes[i] >> 3 & 7) << 4);
    book.second.bytes[i] = uint8_t((codes[i] >> 6 & 7) | (codes[i] >> 9 & 7) << 4);
  }
  return book;
}
constexpr Book<256> kIq2XxsBook = book_of_8(kIq2XxsCodes);
constexpr Book<512> kIq2XsBook = book_of_8(kIq2XsCodes);
constexpr Book<256> kIq3XxsBook = book_of_4(kIq3XxsCodes);
constexpr Book<512> kIq3SBook = book_of_4(kIq3SCodes);

// Larger books are gathered from memory: 8 digits of 2 bits, twice in a word.
template <int kSize>
struct WordBook {
  uint32_t words[kSize];
};
template <int kSize>
constexpr WordBook<kSize> word_book(const uint16_t (&codes)[kSize]) {
  WordBook<kSize> book{};
  for (int i = 0; i < kSize; ++i) book.words[i] = uint32_t(codes[i]) * 0x10001u;
  return book;
}
constexpr WordBook<1024> kIq2SBook = word_book(kIq2SCodes);
constexpr WordBook<2048> kIq1Book = word_book(kIq1Codes);

// Bits 7 and 8 of 64 indices.
struct HighBits {
  __mmask64 bit[2];
};

template <int kSize>
[[gnu::always_inline]] inline I look_up(const uint8_t* bytes, I index, const HighBits& high) {
  if constexpr (kSize == 128) {
    return _mm512_permutex2var_epi8(i_load(bytes), index, i_load(bytes + 64));
  } else {
    constexpr int kBit = kSize == 256 ? 0 : 1;
    const I low = look_up<kSize / 2>(bytes, index, high);
    return _mm512_mask_mov_epi8(low, high.bit[kBit],
                                look_up<kSize / 2>(bytes + kSize / 2, index, high));
  }
}

// ---- bits ----

// Eight bits from each of four places in every lane; the places are taken modulo 64 in pairs of
// lanes, so that what lies beyond a lane is rubbish.
template <int a, int b, int c, int d>
I fields(I x) {
  constexpr auto at = [](int place, int shift) { return int64_t(place & 63) << shift; };
  constexpr int64_t kLow = at(a, 0) | at(b, 8) | at(c, 16) | at(d, 24);
  constexpr int64_t kHigh = at(a + 32, 0) | at(b + 32, 8) | at(c + 32, 16) | at(d + 32, 24);
  return _mm512_multishift_epi64_epi8(_mm512_set1_epi64(kLow | kHigh << 32), x);
}

// A matrix over GF(2) that makes bit k of a byte the parity of the bits `from[k]`.
struct BitMap {
  int from[8];
};
template <BitMap kMap>
I map_bits(I x) {
  uint64_t rows = 0;
  for (int k = 0; k < 8; ++k) rows |= uint64_t(kMap.from[k]) << (8 * (7 - k));
  return _mm512_gf2p8affine_epi64_epi8(x, _mm512_set1_epi64(int64_t(rows)), 0);
}
// Seven bits become eight with an even number of ones.
constexpr BitMap kEvenFromLow = {{1, 2, 4, 8, 16, 32, 64, 0x7F}};
constexpr BitMap kEvenFromHigh = {{2, 4, 8, 16, 32, 64, 128, 0xFE}};
// Four signs to where two digits want them: above 2 bits, above 3 bits.
constexpr BitMap kSigns0And2 = {{0, 0, 1, 0, 0, 0, 4, 0}};
constexpr BitMap kSigns1And3 = {{0, 0, 2, 0, 0, 0, 8, 0}};
constexpr BitMap kSigns0And1 = {{0, 0, 0, 1, 0, 0, 0, 2}};
constexpr BitMap kSigns2And3 = {{0, 0, 0, 4, 0, 0, 0, 8}};
constexpr BitMap kSignOfAll = {{0, 0, 1, 0, 0, 0, 1, 0}};

constexpr __mmask64 kOddBytes = 0xAAAAAAAAAAAAAAAA;
constexpr __mmask32 kOddHalves = 0xAAAAAAAA;

// ---- digits to weights ----

// What a digit with its sign above it stands for, whatever lies in the bits above.
struct alignas(64) Levels {
  uint8_t bytes[64];
};
template <int kCount>
constexpr Levels signed_levels(const int (&magnitudes)[kCount]) {
  Levels levels{};
  for (int i = 0; i < 64; ++i) {
    const int m = magnitudes[i % kCount];
    levels.bytes[i] = uint8_t(64 + (i / kCount % 2 == 0 ? m : -m));
  }
  return levels;
}
constexpr Levels kIq2Signed = signed_levels<4>({8, 25, 43, 0});
constexpr Levels kIq3XxsSigned = signed_levels<8>({4, 12, 20, 28, 36, 44, 52, 62});
constexpr Levels kIq3SSigned = signed_levels<8>({1, 3, 5, 7, 9, 11, 13, 15});
// 8g + 1, or 8g - 1 where the sign is set.
constexpr Levels iq1_levels() {
  Levels levels{};
  for (int i = 0; i < 64; ++i) levels.bytes[i] = uint8_t(56 + 8 * (i % 4) + (i / 4 % 2 ? -1 : 1));
  return levels;
}
constexpr Levels kIq1Signed = iq1_levels();

I weights_of(const Levels& levels, I digits) {
  return _mm512_permutexvar_epi8(digits, i_load(levels.bytes));
}

// Four words of half a step: each byte of `codes` is four digits of 2 bits.
void unpack_fours(const Levels& levels, I codes, I signs_0_2, I signs_1_3, I* w) {
  const I places = i_set(0x33333333);
  const I even = i_or(i_and(codes, places), signs_0_2);
  const I odd = i_or(i_and(i_shr<2>(codes), places), signs_1_3);
  w[0] = weights_of(levels, even);
  w[1] = weights_of(levels, odd);
  w[2] = weights_of(levels, i_shr<4>(even));
  w[3] = weights_of(levels, i_shr<4>(odd));
}

// The signs of four k are the low bits of each byte of `signs`.
void unpack_signed_fours(const I (&codes)[2], const I (&signs)[2], I* w) {
  for (int half = 0; half < 2; ++half) {
    unpack_fours(kIq2Signed, codes[half], map_bits<kSigns0And2>(signs[half]),
                 map_bits<kSigns1And3>(signs[half]), w + 4 * half);
  }
}

// A step of IQ2: rows 0, 2, 1, 3 in the bytes of `index`.
template <int kSize>
void unpack_iq2(const Book<kSize>& book, I index, const HighBits& high, const I (&signs)[2], I* w) {
  const I first = look_up<kSize>(book.first.bytes, index, high);
  const I second = look_up<kSize>(book.second.bytes, index, high);
  const I codes[2] = {_mm512_mask_mov_epi8(first, kOddBytes, i_shl<8>(second)),
                      _mm512_mask_mov_epi8(i_shr<8>(first), kOddBytes, second)};
  unpack_signed_fours(codes, signs, w);
}

// Half a step of IQ3: a byte of `index` is a row of four.
template <int kSize>
void unpack_iq3(const Book<kSize>& book, const Levels& levels, I index, const HighBits& high,
                I signs, I* w) {
  const I first = i_or(look_up<kSize>(book.first.bytes, index, high), map_bits<kSigns0And1>(signs));
  const I second =
      i_or(look_up<kSize>(book.second.bytes, index, high), map_bits<kSigns2And3>(signs));
  w[0] = weights_of(levels, first);
  w[1] = weights_of(levels, i_shr<4>(first));
  w[2] = weights_of(levels, second);
  w[3] = weights_of(levels, i_shr<4>(second));
}

// ---- scales ----

// factor · (2 i + 1) for the low bits i of an index.
struct alignas(64) Factors {
  float values[16];
};
constexpr Factors odd_factors(int kCount, float factor) {
  Factors factors{};
  for (int i = 0; i < 16; ++i) factors.values[i] = factor * float(2 * (i % kCount) + 1);
  return factors;
}
constexpr Factors kEighths16 = odd_factors(16, 0.125f), kEighths8 = odd_factors(8, 0.125f);
constexpr Factors kQuarters16 = odd_factors(16, 0.25f), kOdds16 = odd_factors(16, 1);

// d times a factor: like odd_scale, a product of few bits, thus exact.
F times_factor(F d, const Factors& factors, I index) {
  return f_mul(d, _mm512_permutexvar_ps(index, f_load(factors.values)));
}
template <int kSub>
void two_eighths(F d, const uint8_t* scales, TwoScaleFormat::Step& s) {
  const I both = i_shr<kSub % 4 * 8>(i_load(scales + kSub / 4 * kWord));
  s.scale[0] = times_factor(d, kEighths16, both);
  s.scale[1] = times_factor(d, kEighths16, i_shr<4>(both));
}

// ---- turning ----

void turn_activations(const ActBlock& x, ActBlock& turned) {
  __builtin_memcpy(&turned, &x, sizeof(ActBlock) - sizeof(ActBlock::q));
  const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m256i q = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x.q));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(turned.q),
                      _mm256_shuffle_epi8(q, _mm256_broadcastsi128_si256(order)));
}

// Transposes the 4 × 4 bytes of each lane of four words, twice.
void turn_weights(I (&w)[8]) {
  for (int half = 0; half < 8; half += 4) {
    I* a = w + half;
    const I even_01 = _mm512_mask_mov_epi8(a[0], kOddBytes, i_shl<8>(a[1]));
    const I odd_01 = _mm512_mask_mov_epi8(i_shr<8>(a[0]), kOddBytes, a[1]);
    const I even_23 = _mm512_mask_mov_epi8(a[2], kOddBytes, i_shl<8>(a[3]));
    const I odd_23 = _mm512_mask_mov_epi8(i_shr<8>(a[2]), kOddBytes, a[3]);
    a[0] = _mm512_mask_mov_epi16(even_01, kOddHalves, i_shl<16>(even_23));
    a[1] = _mm512_mask_mov_epi16(odd_01, kOddHalves, i_shl<16>(odd_23));
    a[2] = _mm512_mask_mov_epi16(i_shr<16>(even_01), kOddHalves, even_23);
    a[3] = _mm512_mask_mov_epi16(i_shr<16>(odd_01), kOddHalves, odd_23);
  }
}

// ---- formats ----

struct TurnedIq2_XXS : FormatIq2_XXS {
  static constexpr bool kTurned = true;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const uint8_t* words = block + 2 * kLanes + 2 * kSub * kWord;
    const I index = fields<0, 16, 8, 24>(i_load(words)), packed = i_load(words + kWord);
    const I even = map_bits<kEvenFromLow>(fields<0, 7, 14, 21>(packed));
    const I signs[2] = {fields<0, 4, 8, 12>(even), fields<16, 20, 24, 28>(even)};
    unpack_iq2(kIq2XxsBook, index, {{_mm512_movepi8_mask(index)}}, signs, s.w);
    s.scale[0] = times_factor(f_load_f16(block), kEighths16, i_shr<28>(packed));
  }
};

struct TurnedIq2_XS : FormatIq2_XS {
  static constexpr bool kTurned = true;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const uint8_t* words = block + 2 * kLanes;
    const I q01 = i_load(words + 2 * kSub * kWord), q23 = i_load(words + (2 * kSub + 1) * kWord);
    const I low = _mm512_mask_mov_epi8(q01, kOddBytes, i_shl<8>(q23));
    const I high = _mm512_mask_mov_epi8(i_shr<8>(q01), kOddBytes, q23);
    const I even = map_bits<kEvenFromHigh>(high);
    const I signs[2] = {fields<0, 4, 16, 20>(even), fields<8, 12, 24, 28>(even)};
    const __mmask64 ninth = _mm512_test_epi8_mask(high, i_set(0x01010101));
    unpack_iq2(kIq2XsBook, low, {{_mm512_movepi8_mask(low), ninth}}, signs, s.w);
    two_eighths<kSub>(f_load_f16(block), words + 16 * kWord, s);
  }
};

struct TurnedIq3_XXS : FormatIq3_XXS {
  static constexpr bool kTurned = true;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const uint8_t* words = block + 2 * kLanes;
    const I packed = i_load(words + (16 + kSub) * kWord);
    const I even = map_bits<kEvenFromLow>(fields<0, 7, 14, 21>(packed));
    const I signs[2] = {fields<0, 4, 8, 12>(even), fields<16, 20, 24, 28>(even)};
    for (int half = 0; half < 2; ++half) {
      const I index = i_load(words + (2 * kSub + half) * kWord);
      unpack_iq3(kIq3XxsBook, kIq3XxsSigned, index, {{_mm512_movepi8_mask(index)}}, signs[half],
                 s.w + 4 * half);
    }
    s.scale[0] = times_factor(f_load_f16(block), kQuarters16, i_shr<28>(packed));
  }
};

struct TurnedIq3_S : FormatIq3_S {
  static constexpr bool kTurned = true;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const uint8_t* words = block + 2 * kLanes;
    const I all = i_load(words + (18 + kSub) * kWord);
    const I signs[2] = {fields<0, 4, 8, 12>(all), fields<16, 20, 24, 28>(all)};
    constexpr int kTop = kSub % 4 * 8 - 7;  // a ninth bit to the top of a byte
    const I ninths = i_load(words + (16 + kSub / 4) * kWord);
    const I ninth[2] = {fields<kTop, kTop + 1, kTop + 2, kTop + 3>(ninths),
                        fields<kTop + 4, kTop + 5, kTop + 6, kTop + 7>(ninths)};
    for (int half = 0; half < 2; ++half) {
      const I index = i_load(words + (2 * kSub + half) * kWord);
      const HighBits high = {{_mm512_movepi8_mask(index), _mm512_movepi8_mask(ninth[half])}};
      unpack_iq3(kIq3SBook, kIq3SSigned, index, high, signs[half], s.w + 4 * half);
    }
    const I scales = i_shr<kSub * 4>(i_load(words + 26 * kWord));
    s.scale[0] = times_factor(f_load_f16(block), kOdds16, scales);
  }
};

// The code of row kRow, twice: 8 bits of its index are a byte of `low`; those above lie at kTop of
// `high`.
template <int kRow, int kTop, int kSize>
I gather_code(const WordBook<kSize>& book, I low, I high) {
  const I byte = i_and(i_shr<8 * kRow>(low), i_set(0xFF));
  return gather(book.words, i_or(i_and(i_shift<8 - kTop>(high), i_set(kSize - 256)), byte));
}
// The codes of a step, half after half: kDistance from one row's upper index bits to the next's.
template <int kTop, int kDistance, int kSize>
void gather_codes(const WordBook<kSize>& book, I low, I high, I (&codes)[2]) {
  const I row_0 = gather_code<0, kTop>(book, low, high);
  const I row_1 = gather_code<1, kTop + kDistance>(book, low, high);
  const I row_2 = gather_code<2, kTop + 2 * kDistance>(book, low, high);
  const I row_3 = gather_code<3, kTop + 3 * kDistance>(book, low, high);
  codes[0] = _mm512_mask_mov_epi16(row_0, kOddHalves, row_1);
  codes[1] = _mm512_mask_mov_epi16(row_2, kOddHalves, row_3);
}

struct TurnedIq2_S : FormatIq2_S {
  static constexpr bool kTurned = true;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const uint8_t* words = block + 2 * kLanes;
    const I all = i_load(words + (8 + kSub) * kWord);
    const I signs[2] = {fields<0, 4, 8, 12>(all), fields<16, 20, 24, 28>(all)};
    I codes[2];
    gather_codes<kSub % 4 * 8, 2>(kIq2SBook, i_load(words + kSub * kWord),
                                  i_load(words + (16 + kSub / 4) * kWord), codes);
    unpack_signed_fours(codes, signs, s.w);
    two_eighths<kSub>(f_load_f16(block), words + 18 * kWord, s);
  }
};

struct TurnedIq1_S : FormatIq1_S {
  static constexpr bool kTurned = true;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const uint8_t* words = block + 2 * kLanes;
    constexpr int kHigh = kSub % 2 * 16;
    const I high = i_load(words + (8 + kSub / 2) * kWord);
    const I down =
        map_bits<kSignOfAll>(fields<kHigh + 15, kHigh + 15, kHigh + 15, kHigh + 15>(high));
    I codes[2];
    gather_codes<kHigh, 3>(kIq1Book, i_load(words + kSub * kWord), high, codes);
    for (int half = 0; half < 2; ++half) {
      unpack_fours(kIq1Signed, codes[half], down, down, s.w + 4 * half);
    }
    s.scale[0] = times_factor(f_load_f16(block), kEighths8, i_shr<kHigh + 12>(high));
  }
};

struct TurnedIq1_M : FormatIq1_M {
  static constexpr bool kTurned = true;
  template <int kSub>
  static void unpack(const uint8_t* words, Step& s) {
    constexpr int kHigh = kSub % 2 * 16;
    const I high = i_load(words + (8 + kSub / 2) * kWord);
    const I down[2] = {
        map_bits<kSignOfAll>(fields<kHigh + 3, kHigh + 3, kHigh + 7, kHigh + 7>(high)),
        map_bits<kSignOfAll>(fields<kHigh + 11, kHigh + 11, kHigh + 15, kHigh + 15>(high))};
    I codes[2];
    gather_codes<kHigh, 4>(kIq1Book, i_load(words + kSub * kWord), high, codes);
    for (int half = 0; half < 2; ++half) {
      unpack_fours(kIq1Signed, codes[half], down[half], down[half], s.w + 4 * half);
    }
    const F scale = d(words + 12 * kWord);
    const I both = i_shr<kSub % 4 * 8 - kSub % 2 * 2>(i_load(words + (12 + kSub / 4) * kWord));
    s.scale[0] = times_factor(scale, kEighths8, both);
    s.scale[1] = times_factor(scale, kEighths8, i_shr<3>(both));
  }
};

}  // namespace
}  // namespace lm::cpu
