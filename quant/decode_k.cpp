// quant/decode_k.cpp — K-quants and the ternary formats: super-blocks of 256.
// Layouts in quant/blocks.h; source: ggml-quants.c of ggml.
#include <cstring>

#include "quant/decode_block.h"
#include "quant/group.h"
#include "quant/half.h"

namespace lm {
namespace {

struct ScaleMin {
  int scale;
  int min;
};

// Scale and minimum of sub-block i, 6 bits each, from the 12 bytes of Q4_K and Q5_K. The first four
// of each lie in the low 6 bits of bytes 0..3 and 4..7. The rest have their low nibbles in bytes
// 8..11 (scale low, minimum high) and their top 2 bits above the first ones.
ScaleMin scale_min(const uint8_t* s, int i) {
  if (i < 4) return {s[i] & 63, s[i + 4] & 63};
  return {(s[i + 4] & 15) | (s[i - 4] >> 6) << 4, (s[i + 4] >> 4) | (s[i] >> 6) << 4};
}

// Scale of sub-block i of a Q3_K block, 0 .. 63.
int q3_scale(const uint8_t* s, int i) {
  const int low = i < 8 ? s[i] & 15 : s[i - 8] >> 4;
  const int top = s[8 + i % 4] >> (2 * (i / 4)) & 3;
  return low | top << 4;
}

}  // namespace

void decode_block(const BlockQ2_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float dmin = f16_to_f32(block.dmin);
  for (int i = 0; i < 16; ++i) {  // sub-block i: numbers 16*i ..
    const float scale = d * float(block.scales[i] & 15);
    const float min = dmin * float(block.scales[i] >> 4);
    const uint8_t* q = block.qs + (32 * (i / 8) + 16 * (i % 2));
    const int shift = i / 2 % 4 * 2;
    for (int j = 0; j < 16; ++j) out[16 * i + j] = scale * float(q[j] >> shift & 3) - min;
  }
}

void decode_block(const BlockQ3_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < 16; ++i) {
    const float scale = d * float(q3_scale(block.scales, i) - 32);
    const uint8_t* low = block.qs + (32 * (i / 8) + 16 * (i % 2));
    const uint8_t* high = group<16>(block.hmask, i % 2);
    const int shift = i / 2 % 4 * 2;
    for (int j = 0; j < 16; ++j) {
      const int q = (low[j] >> shift & 3) | (high[j] >> (i / 2) & 1) << 2;
      out[16 * i + j] = scale * float(q - 4);
    }
  }
}

void decode_block(const BlockQ4_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float dmin = f16_to_f32(block.dmin);
  for (int i = 0; i < 8; ++i) {
    const ScaleMin sm = scale_min(block.scales, i);
    const float scale = d * float(sm.scale);
    const float min = dmin * float(sm.min);
    const uint8_t* q = group<32>(block.qs, i / 2);
    const int shift = i % 2 * 4;
    for (int j = 0; j < 32; ++j) out[32 * i + j] = scale * float(q[j] >> shift & 15) - min;
  }
}

void decode_block(const BlockQ5_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float dmin = f16_to_f32(block.dmin);
  for (int i = 0; i < 8; ++i) {
    const ScaleMin sm = scale_min(block.scales, i);
    const float scale = d * float(sm.scale);
    const float min = dmin * float(sm.min);
    const uint8_t* low = group<32>(block.qs, i / 2);
    const int shift = i % 2 * 4;
    for (int j = 0; j < 32; ++j) {
      const int q = (low[j] >> shift & 15) | (block.qh[j] >> i & 1) << 4;
      out[32 * i + j] = scale * float(q) - min;
    }
  }
}

void decode_block(const BlockQ6_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < 16; ++i) {
    const int slice = i / 2 % 4;  // which 32 of 128 numbers
    const float scale = d * float(block.scales[i]);
    const uint8_t* low = block.ql + (64 * (i / 8) + 32 * (slice % 2) + 16 * (i % 2));
    const uint8_t* high = block.qh + (32 * (i / 8) + 16 * (i % 2));
    for (int j = 0; j < 16; ++j) {
      const int q = (low[j] >> (slice / 2 * 4) & 15) | (high[j] >> (2 * slice) & 3) << 4;
      out[16 * i + j] = scale * float(q - 32);
    }
  }
}

void decode_block(const BlockQ8_K& block, float* out) {
  for (int j = 0; j < 256; ++j) out[j] = block.d * float(block.qs[j]);
}

namespace {

// Digit `n` (the first is 0) of a byte that stores base-3 digits t0 t1 .. as the fraction
// 0.t0t1.. * 256, rounded up: multiply by 3^n, drop the whole part, and take the next digit.
int ternary_digit(uint8_t byte, int n) {
  constexpr int kPowers[5] = {1, 3, 9, 27, 81};
  const int fraction = byte * kPowers[n] & 255;
  return fraction * 3 >> 8;
}

// `count` bytes that hold n_digits digits each: all first digits come first, then all second ones.
float* decode_ternary(const uint8_t* bytes, int count, int n_digits, float d, float* out) {
  for (int n = 0; n < n_digits; ++n) {
    for (int j = 0; j < count; ++j) *out++ = float(ternary_digit(bytes[j], n) - 1) * d;
  }
  return out;
}

}  // namespace

void decode_block(const BlockTQ1_0& block, float* out) {
  const float d = f16_to_f32(block.d);
  out = decode_ternary(block.qs, 32, 5, d, out);
  out = decode_ternary(block.qs + 32, 16, 5, d, out);
  decode_ternary(block.qh, 4, 4, d, out);
}

void decode_block(const BlockTQ2_0& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < 8; ++i) {  // 32 numbers each
    const uint8_t* q = group<32>(block.qs, i / 4);
    const int shift = i % 4 * 2;
    for (int j = 0; j < 32; ++j) out[32 * i + j] = float((q[j] >> shift & 3) - 1) * d;
  }
}

}  // namespace lm
