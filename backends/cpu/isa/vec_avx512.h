// backends/cpu/isa/vec_avx512.h — the vector vocabulary (vec_scalar.h) with 16 lanes of 512 bits.
#pragma once
#include <immintrin.h>

#include <cstdint>

#include "quant/codebooks.h"

namespace lm::cpu {
namespace {

constexpr int kLanes = 16;
constexpr int kMaxColumns = 8;
constexpr int kStreamColumns = 8;
constexpr bool kSignedIsFree = true;
constexpr int kIntTilePanels = 2, kIntTileColumns = 6;
constexpr int kFloatTilePanels = 4, kFloatTileColumns = 6;
constexpr int64_t kUnpackedBytes = 24 << 10;
using F = __m512;
using I = __m512i;

// The first n lanes.
inline __mmask16 lane_mask(int64_t n) {
  return __mmask16((1u << n) - 1);
}

inline F f_set(float x) {
  return _mm512_set1_ps(x);
}
inline F f_load(const float* p) {
  return _mm512_loadu_ps(p);
}
inline F f_load_n(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(lane_mask(n), p);
}
inline void f_store(float* p, F a) {
  _mm512_storeu_ps(p, a);
}
inline void f_store_n(float* p, F a, int64_t n) {
  _mm512_mask_storeu_ps(p, lane_mask(n), a);
}
inline F f_load_f16(const void* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
inline F f_from_half_bits(I a) {
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a));
}
inline void f_store_f16(void* p, F a) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
inline F f_load_bf16(const void* p) {
  const __m256i halves = _mm256_loadu_si256(static_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
inline F f_load_i8(const int8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

inline F f_add(F a, F b) {
  return _mm512_add_ps(a, b);
}
inline F f_sub(F a, F b) {
  return _mm512_sub_ps(a, b);
}
inline F f_mul(F a, F b) {
  return _mm512_mul_ps(a, b);
}
inline F f_div(F a, F b) {
  return _mm512_div_ps(a, b);
}
inline F f_fma(F a, F b, F c) {
  return _mm512_fmadd_ps(a, b, c);
}
inline F f_max(F a, F b) {
  return _mm512_max_ps(a, b);
}
inline F f_min(F a, F b) {
  return _mm512_min_ps(a, b);
}
inline F f_if_less(F a, F b, F yes, F no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
inline float f_sum(F a) {
  return _mm512_reduce_add_ps(a);
}
inline float f_largest(F a) {
  return _mm512_reduce_max_ps(a);
}

inline I f_bits(F a) {
  return _mm512_castps_si512(a);
}
inline F i_bits(I a) {
  return _mm512_castsi512_ps(a);
}
inline F f_from_i(I a) {
  return _mm512_cvtepi32_ps(a);
}

inline I i_set(int32_t x) {
  return _mm512_set1_epi32(x);
}
inline I i_load(const void* p) {
  return _mm512_loadu_si512(p);
}
inline I i_load_u16(const void* p) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
inline I i_load_u8(const void* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
inline void i_store(void* p, I a) {
  _mm512_storeu_si512(p, a);
}
inline I i_add(I a, I b) {
  return _mm512_add_epi32(a, b);
}
inline I i_sub(I a, I b) {
  return _mm512_sub_epi32(a, b);
}
inline I i_and(I a, I b) {
  return _mm512_and_si512(a, b);
}
inline I i_or(I a, I b) {
  return _mm512_or_si512(a, b);
}
inline I i_xor(I a, I b) {
  return _mm512_xor_si512(a, b);
}
inline I i_max(I a, I b) {
  return _mm512_max_epi32(a, b);
}
template <int kBits>
inline I i_shl(I a) {
  return _mm512_slli_epi32(a, kBits);
}
template <int kBits>
inline I i_shr(I a) {
  return _mm512_srli_epi32(a, kBits);
}
template <int kBits>
inline I i_sar(I a) {
  return _mm512_srai_epi32(a, kBits);
}
inline I mul_halves(I a, I b) {
  return _mm512_mullo_epi16(a, b);
}
inline I mul_halves_high(I a, I b) {
  return _mm512_mulhi_epu16(a, b);
}
inline int32_t i_largest(I a) {
  return _mm512_reduce_max_epi32(a);
}
inline int32_t i_sum(I a) {
  return _mm512_reduce_add_epi32(a);
}
inline void i_store_low_bytes(void* p, I a) {
  _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a));
}

inline I i_load_pairs(const void* p) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
inline I dot_pairs(I acc, I a, I b) {
  return _mm512_dpwssd_epi32(acc, a, b);
}

inline I i_set4(const int8_t* x) {
  int32_t word;
  __builtin_memcpy(&word, x, 4);
  return _mm512_set1_epi32(word);
}
inline I dot_step(I acc, I w, const int8_t* x) {
  return _mm512_dpbusd_epi32(acc, w, i_set4(x));
}
template <int>
struct Dot {
  I sum;
  void start(I s) { sum = s; }
  void add(int, I w, I x) { sum = _mm512_dpbusd_epi32(sum, w, x); }
  I end() const { return sum; }
};
// dpbusd wants unsigned weights: w + 128 instead, and 128 Σx less.
inline I signed_weights(I w) {
  return _mm512_xor_si512(w, _mm512_set1_epi8(int8_t(-128)));
}
inline I start_signed(const ActBlock& x) {
  return i_set(x.start_128);
}
inline F scaled_dot(I dot, F scale, F unbias) {
  return f_fma(i_bits(dot), scale, unbias);
}

// The bytes whose bit is set: byte b of a lane has bit 4j + b.
inline __mmask64 bytes_with_bit(I bits, int j) {
  const __m128i lanes = _mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0C0C0C0C);
  const __m128i byte = _mm_add_epi8(lanes, _mm_set1_epi8(int8_t(j / 2)));
  const I copies = _mm512_shuffle_epi8(bits, _mm512_broadcast_i32x4(byte));
  const I mask = i_set(j % 2 == 0 ? 0x08040201 : int32_t(0x80402010));
  return _mm512_test_epi8_mask(copies, mask);
}
inline I byte_mask(I bits, int j) {
  return _mm512_movm_epi8(bytes_with_bit(bits, j));
}
inline I spread_bits(I bits, int j) {
  return _mm512_maskz_set1_epi8(bytes_with_bit(bits, j), 0x10);
}
inline I gather(const void* table, I index) {
  return _mm512_i32gather_epi32(index, table, 4);
}
// A gather costs by the element: eight rows of eight bytes at a time, then halves are put together.
inline void gather_pair(const void* table, I index, I& first, I& second) {
  const I low = _mm512_i32gather_epi64(_mm512_castsi512_si256(index), table, 8);
  const I high = _mm512_i32gather_epi64(_mm512_extracti64x4_epi64(index, 1), table, 8);
  const I even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  first = _mm512_permutex2var_epi32(low, even, high);
  second = _mm512_permutex2var_epi32(low, i_or(even, i_set(1)), high);
}
inline I lookup_signed(const int8_t* table, I index) {
  const __m128i entries = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return _mm512_shuffle_epi8(signed_weights(_mm512_broadcast_i32x4(entries)), index);
}

}  // namespace
}  // namespace lm::cpu
