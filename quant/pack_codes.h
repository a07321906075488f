// quant/pack_codes.h — whole numbers into the bit fields of a block. Inside the room only.
// The codes of a block of n numbers are q[0 .. n), each within the type's range.
#pragma once
#include <algorithm>
#include <cstdint>

#include "quant/blocks.h"

namespace lm {

// Halves order: byte j holds q[j] in its low 4 bits and q[j + 16] in its high ones, for each 32.
inline void pack_halves(const int* q, int n, uint8_t* qs) {
  for (int i = 0; i < n; i += 32) {
    for (int j = 0; j < 16; ++j)
      qs[i / 2 + j] = uint8_t((q[i + j] & 15) | (q[i + j + 16] & 15) << 4);
  }
}

// Bit 4 of each of 32.
inline void pack_fifth_bits(const int* q, uint8_t* qh) {
  for (int i = 0; i < 4; ++i) {
    int byte = 0;
    for (int k = 0; k < 8; ++k) byte |= (q[8 * i + k] >> 4 & 1) << k;
    qh[i] = uint8_t(byte);
  }
}

// Bits 2s, 2s+1 of byte 32*h + j: the low 2 bits of number 128*h + 32*s + j, of 256.
inline void pack_pairs(const int* q, uint8_t* qs) {
  for (int i = 0; i < 64; ++i) {
    const int first = i / 32 * 128 + i % 32;
    int byte = 0;
    for (int s = 0; s < 4; ++s) byte |= (q[first + 32 * s] & 3) << (2 * s);
    qs[i] = uint8_t(byte);
  }
}

// Low 4 bits of numbers 64*k + j and 64*k + 32 + j in byte 32*k + j, of 256.
inline void pack_wide_halves(const int* q, uint8_t* qs) {
  for (int i = 0; i < 128; ++i) {
    const int first = i / 32 * 64 + i % 32;
    qs[i] = uint8_t((q[first] & 15) | (q[first + 32] & 15) << 4);
  }
}

// Bit k of byte j: bit `bit` of number 32*k + j, of 256.
inline void pack_bits(const int* q, int bit, uint8_t* bytes) {
  for (int j = 0; j < 32; ++j) {
    int byte = 0;
    for (int k = 0; k < 8; ++k) byte |= (q[32 * k + j] >> bit & 1) << k;
    bytes[j] = uint8_t(byte);
  }
}

// The codes of a block; its scales stay.
inline void set_codes(const int* q, BlockQ4_0& block) {
  pack_halves(q, 32, block.qs);
}
inline void set_codes(const int* q, BlockQ4_1& block) {
  pack_halves(q, 32, block.qs);
}
inline void set_codes(const int* q, BlockQ5_0& block) {
  pack_halves(q, 32, block.qs);
  pack_fifth_bits(q, block.qh);
}
inline void set_codes(const int* q, BlockQ5_1& block) {
  pack_halves(q, 32, block.qs);
  pack_fifth_bits(q, block.qh);
}
inline void set_codes(const int* q, BlockQ8_0& block) {  // q in 0 .. 255
  for (int j = 0; j < 32; ++j) block.qs[j] = int8_t(q[j] - 128);
}
template <int kGroup>
void set_codes(const int* q, BlockI4G<kGroup>& block) {
  pack_halves(q, kGroup, block.q);
}
inline void set_codes(const int* q, BlockQ2_K& block) {
  pack_pairs(q, block.qs);
}
inline void set_codes(const int* q, BlockQ3_K& block) {
  pack_pairs(q, block.qs);
  pack_bits(q, 2, block.hmask);
}
inline void set_codes(const int* q, BlockQ4_K& block) {
  pack_wide_halves(q, block.qs);
}
inline void set_codes(const int* q, BlockQ5_K& block) {
  pack_bits(q, 4, block.qh);
  pack_wide_halves(q, block.qs);
}
inline void set_codes(const int* q, BlockQ6_K& block) {
  for (int i = 0; i < 128; ++i) {
    const int first = i / 64 * 128 + i % 64;
    block.ql[i] = uint8_t((q[first] & 15) | (q[first + 64] & 15) << 4);
  }
  int top[256];
  for (int j = 0; j < 256; ++j) top[j] = q[j] >> 4;
  pack_pairs(top, block.qh);
}
inline void set_codes(const int* q, BlockTQ2_0& block) {
  pack_pairs(q, block.qs);
}

// Five base-3 digits, `step` numbers from one to the next, as the fraction of 256 whose multiples
// by powers of 3 show them above the point.
inline uint8_t pack_digits(const int* q, int step, int n) {
  int value = 0;
  for (int i = 0; i < 5; ++i) value = 3 * value + (i < n ? q[i * step] : 0);
  return uint8_t((value * 256 + 242) / 243);
}
inline void set_codes(const int* q, BlockTQ1_0& block) {
  for (int j = 0; j < 32; ++j) block.qs[j] = pack_digits(q + j, 32, 5);
  for (int j = 0; j < 16; ++j) block.qs[32 + j] = pack_digits(q + 160 + j, 16, 5);
  for (int j = 0; j < 4; ++j) block.qh[j] = pack_digits(q + 240 + j, 4, 4);
}

}  // namespace lm
