// backends/cpu/isa/formats_vbmi.inl — the IQ formats for processors with VBMI and GFNI (Ice Lake,
// Zen 4 and later), where code books fit registers: 64 indices are looked up at once, in the halves
// of the codes rather than in the rows they stand for, and a row's digits and signs become weights
// by one more lookup. Same blocks and same integers as formats_codebook.inl.
// A byte of a code is four 2-bit digits or two 3-bit digits, so that it never has to be spread: the
// weights come out turned (matmul.inl).

namespace lm::cpu {
namespace {

// ---- code books as planes of bytes ----

// kSize bytes, looked up by indices whose lowest 8 bits are a byte, with masks of the upper ones.
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

// Larger books are gathered from memory: 8 digits of 2 bits, two to a byte.
template <int kSize>
struct WordBook {
  uint32_t words[kSize];
};
template <int kSize>
constexpr WordBook<kSize> word_book(const uint16_t (&codes)[kSize]) {
  WordBook<kSize> book{};
  for (int i = 0; i < kSize; ++i) {
    const uint32_t code = codes[i];
    book.words[i] = (code & 0xF) | (code & 0xF0) << 4 | (code & 0xF00) << 8 | (code & 0xF000) << 12;
  }
  return book;
}
constexpr WordBook<1024> kIq2SBook = word_book(kIq2SCodes);
constexpr WordBook<2048> kIq1Book = word_book(kIq1Codes);

// Of 64 indices: bits 6 and 7, whether both are set, and (in planes of 512) bit 8.
struct HighBits {
  __mmask64 sixth, seventh, both, eighth;
};
HighBits high_bits(I index, __mmask64 eighth = 0) {
  const __mmask64 sixth = _mm512_test_epi8_mask(index, i_set(0x40404040));
  const __mmask64 seventh = _mm512_movepi8_mask(index);
  return {sixth, seventh, _kand_mask64(sixth, seventh), eighth};
}

// In each 64 bytes of a plane at once, and then where the index means them: 1 cycle a lookup, as
// against 2 among 128 bytes.
I look_up_256(const uint8_t* bytes, I index, const HighBits& high) {
  I found = _mm512_permutexvar_epi8(index, i_load(bytes));
  found = _mm512_mask_permutexvar_epi8(found, high.sixth, index, i_load(bytes + 64));
  found = _mm512_mask_permutexvar_epi8(found, high.seventh, index, i_load(bytes + 128));
  return _mm512_mask_permutexvar_epi8(found, high.both, index, i_load(bytes + 192));
}
I look_up(const Plane<256>& plane, I index, const HighBits& high) {
  return look_up_256(plane.bytes, index, high);
}
I look_up(const Plane<512>& plane, I index, const HighBits& high) {
  const I low = look_up_256(plane.bytes, index, high);
  return _mm512_mask_mov_epi8(low, high.eighth, look_up_256(plane.bytes + 256, index, high));
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
// Four signs to where two digits of 3 bits want them: above each.
constexpr BitMap kSigns0And1 = {{0, 0, 0, 1, 0, 0, 0, 2}};
constexpr BitMap kSigns2And3 = {{0, 0, 0, 4, 0, 0, 0, 8}};

// The bits of `a` where kMask has them, elsewhere those of `b`. (Mask registers are few, and
// what is loaded into them passes the port of the permutations.)
template <int32_t kMask>
I select_bits(I a, I b) {
  return _mm512_ternarylogic_epi32(i_set(kMask), a, b, 0xCA);
}
I even_bytes_of(I even, I odd) {
  return select_bits<0x00FF00FF>(even, odd);
}
I even_halves_of(I even, I odd) {
  return select_bits<0x0000FFFF>(even, odd);
}

// ---- digits to weights ----

struct alignas(64) Levels {
  uint8_t bytes[64];
};
// What a digit of 3 bits with its sign above it stands for, whatever lies in the bits above.
constexpr Levels signed_levels(const uint8_t (&magnitudes)[8]) {
  Levels levels{};
  for (int i = 0; i < 64; ++i) {
    const int m = magnitudes[i % 8];
    levels.bytes[i] = uint8_t(64 + (i / 8 % 2 == 0 ? m : -m));
  }
  return levels;
}
constexpr Levels kIq3XxsSigned = signed_levels({4, 12, 20, 28, 36, 44, 52, 62});
constexpr Levels kIq3SSigned = signed_levels({1, 3, 5, 7, 9, 11, 13, 15});

// What each of two digits of 2 bits stands for, with their signs in the two bits above.
struct PairLevels {
  Levels first, second;
};
constexpr PairLevels iq2_levels() {
  constexpr int kMagnitudes[] = {8, 25, 43, 0};
  PairLevels levels{};
  for (int i = 0; i < 64; ++i) {
    const int first = kMagnitudes[i % 4], second = kMagnitudes[i / 4 % 4];
    levels.first.bytes[i] = uint8_t(64 + ((i & 16) != 0 ? -first : first));
    levels.second.bytes[i] = uint8_t(64 + ((i & 32) != 0 ? -second : second));
  }
  return levels;
}
// 8g + 1, or 8g - 1 where the first sign, which is that of both, is set.
constexpr PairLevels iq1_levels() {
  PairLevels levels{};
  for (int i = 0; i < 64; ++i) {
    const int moved = 56 + ((i & 16) != 0 ? -1 : 1);
    levels.first.bytes[i] = uint8_t(moved + 8 * (i % 4));
    levels.second.bytes[i] = uint8_t(moved + 8 * (i / 4 % 4));
  }
  return levels;
}
constexpr PairLevels kIq2Signed = iq2_levels(), kIq1Signed = iq1_levels();

I weights_of(const Levels& levels, I digits) {
  return _mm512_permutexvar_epi8(digits, i_load(levels.bytes));
}

// Two words: two digits in the low half of each byte of `codes`, signs in bits 4 and 5 of `signs`.
void unpack_pairs(const PairLevels& levels, I codes, I signs, I* w) {
  const I digits = select_bits<0x0F0F0F0F>(codes, signs);
  w[0] = weights_of(levels.first, digits);
  w[1] = weights_of(levels.second, digits);
}
// Four words: four digits in each byte of `codes`.
void unpack_fours(I codes, I signs_0_1, I signs_2_3, I* w) {
  unpack_pairs(kIq2Signed, codes, signs_0_1, w);
  unpack_pairs(kIq2Signed, i_shr<4>(codes), signs_2_3, w + 2);
}

// Half a step of IQ3: a byte of `index` is a row of four.
template <int kSize>
void unpack_iq3(const Book<kSize>& book, const Levels& levels, I index, const HighBits& high,
                I signs, I* w) {
  const I first = i_or(look_up(book.first, index, high), map_bits<kSigns0And1>(signs));
  const I second = i_or(look_up(book.second, index, high), map_bits<kSigns2And3>(signs));
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

// turned.q[i] = x.q[order[i]]
struct Order {
  uint8_t k[32];
};
template <Order kOrder>
void turn_activations(const ActBlock& x, ActBlock& turned) {
  __builtin_memcpy(&turned, &x, sizeof(ActBlock) - sizeof(ActBlock::q));
  const __m256i order = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kOrder.k));
  const __m256i q = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x.q));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(turned.q), _mm256_permutexvar_epi8(order, q));
}

// Two words whose bytes lie at even and at odd places, into the first and second four.
void interleave_bytes(I& even, I& odd) {
  const I places_0_2 = even_bytes_of(even, i_shl<8>(odd));
  const I places_1_3 = even_bytes_of(i_shr<8>(even), odd);
  even = even_halves_of(places_0_2, i_shl<16>(places_1_3));
  odd = even_halves_of(i_shr<16>(places_0_2), places_1_3);
}
// Transposes the 4 × 4 bytes of each lane of four words.
void transpose_bytes(I* a) {
  const I even_01 = even_bytes_of(a[0], i_shl<8>(a[1]));
  const I odd_01 = even_bytes_of(i_shr<8>(a[0]), a[1]);
  const I even_23 = even_bytes_of(a[2], i_shl<8>(a[3]));
  const I odd_23 = even_bytes_of(i_shr<8>(a[2]), a[3]);
  a[0] = even_halves_of(even_01, i_shl<16>(even_23));
  a[1] = even_halves_of(odd_01, i_shl<16>(odd_23));
  a[2] = even_halves_of(i_shr<16>(even_01), even_23);
  a[3] = even_halves_of(i_shr<16>(odd_01), odd_23);
}

// Byte b of word p is k = kWords · b + p, in each part of kWords words: 4 (half a step) or 8.
template <int kWords>
struct TurnedAcross {
  static constexpr Order kOrder = [] {
    Order order{};
    for (int i = 0; i < 32; ++i) {
      const int word = i / 4, byte = i % 4;
      order.k[i] = uint8_t(word / kWords * 16 + kWords * byte + word % kWords);
    }
    return order;
  }();
  static void activations(const ActBlock& x, ActBlock& turned) {
    turn_activations<kOrder>(x, turned);
  }
  static void weights(I (&w)[8]) {
    transpose_bytes(w);
    transpose_bytes(w + 4);
    if constexpr (kWords == 4) return;
    const I t[8] = {w[0], w[4], w[1], w[5], w[2], w[6], w[3], w[7]};
    for (int j = 0; j < 8; ++j) w[j] = t[j];
  }
};
// In each pair of words, k = 0, 2, 4, 6 and 1, 3, 5, 7.
struct TurnedInPairs {
  static constexpr Order kOrder = [] {
    Order order{};
    for (int i = 0; i < 32; ++i) order.k[i] = uint8_t(i / 8 * 8 + i % 4 * 2 + i / 4 % 2);
    return order;
  }();
  static void activations(const ActBlock& x, ActBlock& turned) {
    turn_activations<kOrder>(x, turned);
  }
  static void weights(I (&w)[8]) {
    for (int j = 0; j < 8; j += 2) interleave_bytes(w[j], w[j + 1]);
  }
};

// ---- formats ----

struct TurnedIq2_XXS : FormatIq2_XXS {
  using Turn = TurnedAcross<8>;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const uint8_t* words = block + 2 * kLanes + 2 * kSub * kWord;
    const I index = i_load(words), packed = i_load(words + kWord);
    const HighBits high = high_bits(index);
    const I signs = map_bits<kEvenFromLow>(fields<0, 7, 14, 21>(packed));
    const I first = look_up(kIq2XxsBook.first, index, high);
    unpack_fours(first, i_shl<4>(signs), i_shl<2>(signs), s.w);
    const I second = look_up(kIq2XxsBook.second, index, high);
    unpack_fours(second, signs, i_shr<2>(signs), s.w + 4);
    s.scale[0] = times_factor(f_load_f16(block), kEighths16, i_shr<28>(packed));
  }
};

struct TurnedIq2_XS : FormatIq2_XS {
  using Turn = TurnedAcross<4>;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const uint8_t* words = block + 2 * kLanes;
    const I q01 = i_load(words + 2 * kSub * kWord), q23 = i_load(words + (2 * kSub + 1) * kWord);
    // Rows 0, 2, 1, 3.
    const I low = even_bytes_of(q01, i_shl<8>(q23));
    const I high = even_bytes_of(i_shr<8>(q01), q23);
    const HighBits bits = high_bits(low, _mm512_test_epi8_mask(high, i_set(0x01010101)));
    const I first = look_up(kIq2XsBook.first, low, bits);
    const I second = look_up(kIq2XsBook.second, low, bits);
    const I rows_0_1 = even_bytes_of(first, i_shl<8>(second));
    const I rows_2_3 = even_bytes_of(i_shr<8>(first), second);
    const I even = map_bits<kEvenFromHigh>(high);
    const I signs_0_1 = fields<-4, 0, 12, 16>(even), signs_2_3 = fields<4, 8, 20, 24>(even);
    unpack_fours(rows_0_1, signs_0_1, i_shr<2>(signs_0_1), s.w);
    unpack_fours(rows_2_3, signs_2_3, i_shr<2>(signs_2_3), s.w + 4);
    two_eighths<kSub>(f_load_f16(block), words + 16 * kWord, s);
  }
};

struct TurnedIq3_XXS : FormatIq3_XXS {
  using Turn = TurnedAcross<4>;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const uint8_t* words = block + 2 * kLanes;
    const I packed = i_load(words + (16 + kSub) * kWord);
    const I even = map_bits<kEvenFromLow>(fields<0, 7, 14, 21>(packed));
    const I signs[2] = {fields<0, 4, 8, 12>(even), fields<16, 20, 24, 28>(even)};
    for (int half = 0; half < 2; ++half) {
      const I index = i_load(words + (2 * kSub + half) * kWord);
      unpack_iq3(kIq3XxsBook, kIq3XxsSigned, index, high_bits(index), signs[half], s.w + 4 * half);
    }
    s.scale[0] = times_factor(f_load_f16(block), kQuarters16, i_shr<28>(packed));
  }
};

struct TurnedIq3_S : FormatIq3_S {
  using Turn = TurnedAcross<4>;
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
      const HighBits high = high_bits(index, _mm512_movepi8_mask(ninth[half]));
      unpack_iq3(kIq3SBook, kIq3SSigned, index, high, signs[half], s.w + 4 * half);
    }
    const I scales = i_shr<kSub * 4>(i_load(words + 26 * kWord));
    s.scale[0] = times_factor(f_load_f16(block), kOdds16, scales);
  }
};

// The code of row kRow: 8 bits of its index are a byte of `low`; those above lie at kTop of `high`.
template <int kRow, int kTop, int kSize>
I gather_code(const WordBook<kSize>& book, I low, I high) {
  const I byte = i_and(i_shr<8 * kRow>(low), i_set(0xFF));
  return gather(book.words, i_or(i_and(i_shift<8 - kTop>(high), i_set(kSize - 256)), byte));
}

struct TurnedIq2_S : FormatIq2_S {
  using Turn = TurnedInPairs;
  template <int kSub, int kRow = 0>
  static void unpack_rows(const uint8_t* words, I* w) {
    const I high = i_load(words + (16 + kSub / 4) * kWord);
    const I code =
        gather_code<kRow, kSub % 4 * 8 + 2 * kRow>(kIq2SBook, i_load(words + kSub * kWord), high);
    constexpr int kFirst = 8 * kRow - 4;  // two signs to bits 4 and 5 of each byte
    const I signs =
        fields<kFirst, kFirst + 2, kFirst + 4, kFirst + 6>(i_load(words + (8 + kSub) * kWord));
    unpack_pairs(kIq2Signed, code, signs, w + 2 * kRow);
    if constexpr (kRow < 3) unpack_rows<kSub, kRow + 1>(words, w);
  }
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const uint8_t* words = block + 2 * kLanes;
    unpack_rows<kSub>(words, s.w);
    two_eighths<kSub>(f_load_f16(block), words + 18 * kWord, s);
  }
};

// The rows of a step of IQ1: the upper index bits of one lie at kTop of `high`, kDistance from
// those of the next; the bit kDown of the first row, kDownDistance from that of the next, is its
// sign.
template <int kTop, int kDistance, int kDown, int kDownDistance, int kRow = 0>
void unpack_iq1(I low, I high, I* w) {
  const I code = gather_code<kRow, kTop + kRow * kDistance>(kIq1Book, low, high);
  constexpr int kFirst = kDown + kRow * kDownDistance - 4;  // to bit 4 of each byte
  unpack_pairs(kIq1Signed, code, fields<kFirst, kFirst, kFirst, kFirst>(high), w + 2 * kRow);
  if constexpr (kRow < 3) unpack_iq1<kTop, kDistance, kDown, kDownDistance, kRow + 1>(low, high, w);
}

struct TurnedIq1_S : FormatIq1_S {
  using Turn = TurnedInPairs;
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    const uint8_t* words = block + 2 * kLanes;
    constexpr int kHigh = kSub % 2 * 16;
    const I high = i_load(words + (8 + kSub / 2) * kWord);
    unpack_iq1<kHigh, 3, kHigh + 15, 0>(i_load(words + kSub * kWord), high, s.w);
    s.scale[0] = times_factor(f_load_f16(block), kEighths8, i_shr<kHigh + 12>(high));
  }
};

struct TurnedIq1_M : FormatIq1_M {
  using Turn = TurnedInPairs;
  template <int kSub>
  static void unpack(const uint8_t* words, Step& s) {
    constexpr int kHigh = kSub % 2 * 16;
    const I high = i_load(words + (8 + kSub / 2) * kWord);
    unpack_iq1<kHigh, 4, kHigh + 3, 4>(i_load(words + kSub * kWord), high, s.w);
    const F scale = d(words + 12 * kWord);
    const I both = i_shr<kSub % 4 * 8 - kSub % 2 * 2>(i_load(words + (12 + kSub / 4) * kWord));
    s.scale[0] = times_factor(scale, kEighths8, both);
    s.scale[1] = times_factor(scale, kEighths8, i_shr<3>(both));
  }
};

// ---- ternary digits ----

// Digits 0..3 of a byte in base 3 (FormatTq1_0), of 2 bits each, and digit 4.
constexpr Book<256> ternary_book() {
  Book<256> book{};
  for (int byte = 0; byte < 256; ++byte) {
    int fraction = byte;
    for (int digit = 0; digit < 4; ++digit, fraction = fraction * 3 % 256) {
      book.first.bytes[byte] |= uint8_t(fraction * 3 / 256 << (2 * digit));
    }
    book.second.bytes[byte] = uint8_t(fraction * 3 / 256);
  }
  return book;
}
constexpr Book<256> kTernary = ternary_book();

// Four digits of each byte are looked up together, once for all steps that have one of them.
struct LookedUpTq1_0 : FormatTq1_0 {
  template <int kDigit>
  static I digit(const uint8_t* word) {
    const I bytes = i_load(word);
    const HighBits high = high_bits(bytes);
    if constexpr (kDigit == 4) return look_up(kTernary.second, bytes, high);
    return i_and(i_shift<-2 * kDigit>(look_up(kTernary.first, bytes, high)), i_set(0x03030303));
  }
  template <int kSub>
  static void unpack(const uint8_t* block, Step& s) {
    unpack_digits<LookedUpTq1_0, kSub>(block, s);
  }
};

}  // namespace
}  // namespace lm::cpu
