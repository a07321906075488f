// backends/cpu/isa/vec_scalar.h — the vector vocabulary with one lane, in portable C++.
// What each word means is defined here; the other vec_*.h say the same for more lanes. `I` is
// 32 bits a lane: an int, or four bytes of a row. f_fma is fused only where the hardware does it.
#pragma once
#include <cstddef>
#include <cstdint>

#include "quant/codebooks.h"
#include "quant/half.h"

namespace lm::cpu {
namespace {

constexpr int kLanes = 1;
constexpr int kMaxColumns = 4;     // columns that a kernel carries at once
constexpr int kStreamColumns = 1;  // most columns that weights in registers are multiplied with
// Whether a dot of signed weights costs no more than one of unsigned.
constexpr bool kSignedIsFree = false;
// More are multiplied by unpacked weights: panels × columns in registers, and bytes of weights
// unpacked at a time, half of a first-level cache.
constexpr int kIntTilePanels = 1, kIntTileColumns = 4;
constexpr int kFloatTilePanels = 1, kFloatTileColumns = 4;
constexpr int64_t kUnpackedBytes = 16 << 10;
using F = float;
using I = uint32_t;

inline F f_set(float x) {
  return x;
}
inline F f_load(const float* p) {
  return *p;
}
inline F f_load_n(const float* p, int64_t) {
  return *p;
}  // the first n < kLanes lanes, the others 0
inline void f_store(float* p, F a) {
  *p = a;
}
inline void f_store_n(float* p, F a, int64_t) {
  *p = a;
}
inline F f_load_f16(const void* p) {
  uint16_t h;
  __builtin_memcpy(&h, p, 2);
  return f16_to_f32(h);
}
inline F f_from_half_bits(I a) {  // in the low 16 bits
  return f16_to_f32(uint16_t(a));
}
inline void f_store_f16(void* p, F a) {
  const uint16_t h = f32_to_f16(a);
  __builtin_memcpy(p, &h, 2);
}
inline F f_load_bf16(const void* p) {
  uint16_t h;
  __builtin_memcpy(&h, p, 2);
  return bf16_to_f32(h);
}
inline F f_load_i8(const int8_t* p) {
  return *p;
}  // one byte a lane

inline F f_add(F a, F b) {
  return a + b;
}
inline F f_sub(F a, F b) {
  return a - b;
}
inline F f_mul(F a, F b) {
  return a * b;
}
inline F f_div(F a, F b) {
  return a / b;
}
inline F f_fma(F a, F b, F c) {
  return a * b + c;
}
inline F f_max(F a, F b) {
  return a > b ? a : b;
}  // b when either is NaN
inline F f_min(F a, F b) {
  return a < b ? a : b;
}
inline F f_if_less(F a, F b, F yes, F no) {
  return a < b ? yes : no;
}
inline float f_sum(F a) {
  return a;
}
inline float f_largest(F a) {
  return a;
}

inline I f_bits(F a) {
  I i;
  __builtin_memcpy(&i, &a, 4);
  return i;
}
inline F i_bits(I a) {
  F f;
  __builtin_memcpy(&f, &a, 4);
  return f;
}
inline F f_from_i(I a) {
  return float(int32_t(a));
}

inline I i_set(int32_t x) {
  return I(x);
}
inline I i_load(const void* p) {
  I i;
  __builtin_memcpy(&i, p, 4);
  return i;
}
inline I i_load_u16(const void* p) {  // 16 bits a lane
  uint16_t h;
  __builtin_memcpy(&h, p, 2);
  return h;
}
inline I i_load_u8(const void* p) {  // 8 bits a lane
  return *static_cast<const uint8_t*>(p);
}
inline void i_store(void* p, I a) {
  __builtin_memcpy(p, &a, 4);
}
inline I i_add(I a, I b) {
  return a + b;
}
inline I i_sub(I a, I b) {
  return a - b;
}
inline I i_and(I a, I b) {
  return a & b;
}
inline I i_or(I a, I b) {
  return a | b;
}
inline I i_xor(I a, I b) {
  return a ^ b;
}
inline I i_max(I a, I b) {
  return int32_t(a) > int32_t(b) ? a : b;
}
template <int kBits>
inline I i_shl(I a) {
  return a << kBits;
}
template <int kBits>
inline I i_shr(I a) {
  return a >> kBits;
}
template <int kBits>
inline I i_sar(I a) {
  return I(int32_t(a) >> kBits);
}
// The lower, or upper, 16 bits of the products of unsigned halves.
inline I mul_halves(I a, I b) {
  return ((a & 0xFFFF) * (b & 0xFFFF) & 0xFFFF) | (a >> 16) * (b >> 16) << 16;
}
inline I mul_halves_high(I a, I b) {
  return (a & 0xFFFF) * (b & 0xFFFF) >> 16 | ((a >> 16) * (b >> 16) & 0xFFFF0000);
}
inline int32_t i_largest(I a) {
  return int32_t(a);
}
inline int32_t i_sum(I a) {
  return int32_t(a);
}
inline void i_store_low_bytes(void* p, I a) {  // one byte a lane
  *static_cast<uint8_t*>(p) = uint8_t(a & 0xFF);
}
inline I i_set4(const int8_t* x) {  // four bytes in every lane
  return i_load(x);
}

// Two bytes a lane as two 16-bit numbers; acc + Σ over the pairs of each lane, both signed.
inline I i_load_pairs(const void* p) {
  int8_t x[2];
  __builtin_memcpy(x, p, 2);
  return I(uint16_t(x[0])) | I(uint16_t(x[1])) << 16;
}
inline I dot_pairs(I acc, I a, I b) {
  const int32_t low = int16_t(a & 0xFFFF) * int16_t(b & 0xFFFF);
  return I(int32_t(acc) + low + int16_t(a >> 16) * int16_t(b >> 16));
}
// Σ over 4 bytes of a lane: unsigned (signed) weight times signed activation.
inline int32_t dot4_unsigned(I w, const int8_t* x) {
  int32_t sum = 0;
  for (int i = 0; i < 4; ++i) sum += int32_t((w >> (8 * i)) & 0xFF) * x[i];
  return sum;
}
inline int32_t dot4_signed(I w, const int8_t* x) {
  int32_t sum = 0;
  for (int i = 0; i < 4; ++i) sum += int8_t((w >> (8 * i)) & 0xFF) * x[i];
  return sum;
}
// The innermost step of every integer dot: 4 products in each lane, not yet in their final order.
inline I dot_step(I acc, I w, const int8_t* x) {
  return acc + I(dot4_unsigned(w, x));
}
// Σ of four weights (a word) times four activations, on top of `start`, whose bits are kDotBias and
// an integer. kExact says how many words' products a 16-bit sum holds exactly, for instruction sets
// that have no wider one; 0: signed weights.
template <int kExact>
struct Dot {
  I sum;
  void start(I s) { sum = s; }
  void add(int, I w, I x) {
    int8_t q[4];
    __builtin_memcpy(q, &x, 4);
    sum += I(kExact == 0 ? dot4_signed(w, q) : dot4_unsigned(w, q));
  }
  I end() const { return sum; }
};
// How signed weights are stored and what their dot starts from.
inline I signed_weights(I w) {
  return w;
}
inline I start_signed(const ActBlock&) {
  return i_set(kDotBias);
}
// (dot - kDotBias) · scale, rounded once. `unbias` is -kDotBiasValue · scale: exact, as the bias is
// 3 · 2^22 and scales are products of an f16 and a small integer.
inline F scaled_dot(I dot, F scale, F) {
  return float(int32_t(dot) - kDotBias) * scale;
}

// 0xFF, or 0x10, in byte b where bit 4j + b of the lane is set.
inline I byte_mask(I bits, int j) {
  I mask = 0;
  for (int b = 0; b < 4; ++b) mask |= (bits >> (4 * j + b) & 1) * 0xFF << (8 * b);
  return mask;
}
inline I spread_bits(I bits, int j) {
  return byte_mask(bits, j) & 0x10101010;
}
// Word `index` of a table.
inline I gather(const void* table, I index) {
  I word;
  __builtin_memcpy(&word, static_cast<const uint8_t*>(table) + size_t(index) * 4, 4);
  return word;
}
// Row `index` of a table of eight bytes a row.
inline void gather_pair(const void* table, I index, I& first, I& second) {
  first = gather(table, 2 * index);
  second = gather(table, 2 * index + 1);
}
// The table's entry for each byte, an index 0..15: weights, stored as signed_weights says.
inline I lookup_signed(const int8_t* table, I index) {
  I entries = 0;
  for (int b = 0; b < 4; ++b) {
    entries |= I(uint8_t(table[(index >> (8 * b)) & 15])) << (8 * b);
  }
  return entries;
}

}  // namespace
}  // namespace lm::cpu
