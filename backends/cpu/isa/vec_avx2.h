// backends/cpu/isa/vec_avx2.h — the vector vocabulary (vec_scalar.h) with 8 lanes of 256 bits.
// AVX-VNNI differs in the integer dots alone: LM_AVX_VNNI chooses them.
#pragma once
#include <immintrin.h>

#include <cstdint>

#include "quant/codebooks.h"

namespace lm::cpu {
namespace {

constexpr int kLanes = 8;
constexpr int kMaxColumns = 4;
constexpr int kStreamColumns = 1;
constexpr int kIntTilePanels = 1, kIntTileColumns = 4;
constexpr int kFloatTilePanels = 2, kFloatTileColumns = 6;
constexpr int64_t kUnpackedBytes = 16 << 10;
using F = __m256;
using I = __m256i;

// All ones in the first n lanes.
inline I lane_mask(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(int32_t(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

inline F f_set(float x) {
  return _mm256_set1_ps(x);
}
inline F f_load(const float* p) {
  return _mm256_loadu_ps(p);
}
inline F f_load_n(const float* p, int64_t n) {
  return _mm256_maskload_ps(p, lane_mask(n));
}
inline void f_store(float* p, F a) {
  _mm256_storeu_ps(p, a);
}
inline void f_store_n(float* p, F a, int64_t n) {
  _mm256_maskstore_ps(p, lane_mask(n), a);
}
inline F f_load_f16(const void* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
inline F f_from_half_bits(I a) {
  const __m256i halves = _mm256_permute4x64_epi64(_mm256_packus_epi32(a, a), 0x08);
  return _mm256_cvtph_ps(_mm256_castsi256_si128(halves));
}
inline void f_store_f16(void* p, F a) {
  _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
inline F f_load_bf16(const void* p) {
  const __m128i halves = _mm_loadu_si128(static_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
inline F f_load_i8(const int8_t* p) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

inline F f_add(F a, F b) {
  return _mm256_add_ps(a, b);
}
inline F f_sub(F a, F b) {
  return _mm256_sub_ps(a, b);
}
inline F f_mul(F a, F b) {
  return _mm256_mul_ps(a, b);
}
inline F f_div(F a, F b) {
  return _mm256_div_ps(a, b);
}
inline F f_fma(F a, F b, F c) {
  return _mm256_fmadd_ps(a, b, c);
}
inline F f_max(F a, F b) {
  return _mm256_max_ps(a, b);
}
inline F f_min(F a, F b) {
  return _mm256_min_ps(a, b);
}
inline F f_if_less(F a, F b, F yes, F no) {
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
inline float f_sum(F a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float f_largest(F a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

inline I f_bits(F a) {
  return _mm256_castps_si256(a);
}
inline F i_bits(I a) {
  return _mm256_castsi256_ps(a);
}
inline F f_from_i(I a) {
  return _mm256_cvtepi32_ps(a);
}

inline I i_set(int32_t x) {
  return _mm256_set1_epi32(x);
}
inline I i_load(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
inline I i_load_u16(const void* p) {
  return _mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
inline I i_load_u8(const void* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
}
inline void i_store(void* p, I a) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), a);
}
inline I i_add(I a, I b) {
  return _mm256_add_epi32(a, b);
}
inline I i_sub(I a, I b) {
  return _mm256_sub_epi32(a, b);
}
inline I i_and(I a, I b) {
  return _mm256_and_si256(a, b);
}
inline I i_or(I a, I b) {
  return _mm256_or_si256(a, b);
}
inline I i_xor(I a, I b) {
  return _mm256_xor_si256(a, b);
}
inline I i_max(I a, I b) {
  return _mm256_max_epi32(a, b);
}
template <int kBits>
inline I i_shl(I a) {
  return _mm256_slli_epi32(a, kBits);
}
template <int kBits>
inline I i_shr(I a) {
  return _mm256_srli_epi32(a, kBits);
}
template <int kBits>
inline I i_sar(I a) {
  return _mm256_srai_epi32(a, kBits);
}
inline I mul_halves(I a, I b) {
  return _mm256_mullo_epi16(a, b);
}
inline I mul_halves_high(I a, I b) {
  return _mm256_mulhi_epu16(a, b);
}
inline int32_t i_largest(I a) {
  __m128i s = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  s = _mm_max_epi32(s, _mm_shuffle_epi32(s, _MM_SHUFFLE(1, 0, 3, 2)));
  s = _mm_max_epi32(s, _mm_shuffle_epi32(s, _MM_SHUFFLE(2, 3, 0, 1)));
  return _mm_cvtsi128_si32(s);
}
inline int32_t i_sum(I a) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, _MM_SHUFFLE(1, 0, 3, 2)));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, _MM_SHUFFLE(2, 3, 0, 1)));
  return _mm_cvtsi128_si32(s);
}
inline void i_store_low_bytes(void* p, I a) {
  const __m128i low = _mm_set1_epi32(0x0C080400);
  const __m128i first = _mm_shuffle_epi8(_mm256_castsi256_si128(a), low);
  const __m128i second = _mm_shuffle_epi8(_mm256_extracti128_si256(a, 1), low);
  _mm_storel_epi64(static_cast<__m128i*>(p), _mm_unpacklo_epi32(first, second));
}

inline I i_load_pairs(const void* p) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
inline I dot_pairs(I acc, I a, I b) {
#if defined(LM_AVX_VNNI)
  return _mm256_dpwssd_avx_epi32(acc, a, b);
#else
  return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
#endif
}

inline I i_set4(const int8_t* x) {
  int32_t word;
  __builtin_memcpy(&word, x, 4);
  return _mm256_set1_epi32(word);
}
inline F scaled_dot(I dot, F scale, F unbias) {
  return f_fma(i_bits(dot), scale, unbias);
}

#if defined(LM_AVX_VNNI)
constexpr bool kSignedIsFree = true;
inline I dot_step(I acc, I w, const int8_t* x) {
  return _mm256_dpbusd_avx_epi32(acc, w, i_set4(x));
}
template <int>
struct Dot {
  I sum;
  void start(I s) { sum = s; }
  void add(int, I w, I x) { sum = _mm256_dpbusd_avx_epi32(sum, w, x); }
  I end() const { return sum; }
};
// dpbusd wants unsigned weights: w + 128 instead, and 128 Σx less.
inline I signed_weights(I w) {
  return _mm256_xor_si256(w, _mm256_set1_epi8(int8_t(-128)));
}
inline I start_signed(const ActBlock& x) {
  return i_set(x.start_128);
}
#else
constexpr bool kSignedIsFree = false;
inline I dot_step(I acc, I w, const int8_t* x) {
  return _mm256_add_epi16(acc, _mm256_maddubs_epi16(w, i_set4(x)));
}
// 16-bit sums of pairs: a word's two are at most 2 · (2^bits - 1) · 127, so that kExact words stay
// below 2^15: 8 of 4 bits, 4 of 5, 2 of 6, 1 of 7 (up to 126).
template <int kExact>
struct Dot {
  I sum, pairs;
  void start(I s) { sum = s; }
  void add(int word, I w, I x) {
    const I products = _mm256_maddubs_epi16(w, x);
    pairs = word % kExact == 0 ? products : _mm256_add_epi16(pairs, products);
    if (word % kExact == kExact - 1) {
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
  }
  I end() const { return sum; }
};
// |w| times sign(w) x: a pair is at most 2 · 128 · 127 = 32512 < 2^15.
template <>
struct Dot<0> {
  I sum;
  void start(I s) { sum = s; }
  void add(int, I w, I x) {
    const I products = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(products, _mm256_set1_epi16(1)));
  }
  I end() const { return sum; }
};
inline I signed_weights(I w) {
  return w;
}
inline I start_signed(const ActBlock&) {
  return i_set(kDotBias);
}
#endif

inline I byte_mask(I bits, int j) {
  const I byte = _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0C0C0C0C, 0, 0x04040404, 0x08080808,
                                   0x0C0C0C0C);
  const I copies =
      _mm256_shuffle_epi8(bits, _mm256_add_epi8(byte, _mm256_set1_epi8(int8_t(j / 2))));
  const I mask = _mm256_set1_epi32(j % 2 == 0 ? 0x08040201 : int32_t(0x80402010));
  return _mm256_cmpeq_epi8(i_and(copies, mask), mask);
}
inline I spread_bits(I bits, int j) {
  return i_and(byte_mask(bits, j), _mm256_set1_epi8(0x10));
}
inline I gather(const void* table, I index) {
  return _mm256_i32gather_epi32(static_cast<const int*>(table), index, 4);
}
// A gather costs by the element: four rows of eight bytes at a time, then halves are put together.
inline void gather_pair(const void* table, I index, I& first, I& second) {
  const auto* rows = static_cast<const long long*>(table);
  const __m256 low =
      _mm256_castsi256_ps(_mm256_i32gather_epi64(rows, _mm256_castsi256_si128(index), 8));
  const __m256 high =
      _mm256_castsi256_ps(_mm256_i32gather_epi64(rows, _mm256_extracti128_si256(index, 1), 8));
  // Lanes come as 0 1 4 5 2 3 6 7.
  const I words = _mm256_castps_si256(_mm256_shuffle_ps(low, high, 0x88));
  const I next = _mm256_castps_si256(_mm256_shuffle_ps(low, high, 0xDD));
  first = _mm256_permute4x64_epi64(words, 0xD8);
  second = _mm256_permute4x64_epi64(next, 0xD8);
}
inline I lookup_signed(const int8_t* table, I index) {
  const __m128i entries = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return _mm256_shuffle_epi8(signed_weights(_mm256_broadcastsi128_si256(entries)), index);
}

}  // namespace
}  // namespace lm::cpu
