// quant/decode_k.h — K-quants and the ternary formats: super-blocks of 256, eight numbers at a time
// (see quant/decode_block.h). Layouts in quant/blocks.h; source: ggml-quants.c of ggml.
#pragma once
#include "quant/blocks.h"
#include "quant/half.h"

namespace lm {

struct ScaleMin {
  int scale;
  int min;
};

// Scale and minimum of sub-block i, 6 bits each, from the 12 bytes of Q4_K and Q5_K. The first four
// of each lie in the low 6 bits of bytes 0..3 and 4..7. The rest have their low nibbles in bytes
// 8..11 (scale low, minimum high) and their top 2 bits above the first ones.
constexpr ScaleMin scale_min(const uint8_t* s, int i) {
  if (i < 4) return {s[i] & 63, s[i + 4] & 63};
  return {(s[i + 4] & 15) | (s[i - 4] >> 6) << 4, (s[i + 4] >> 4) | (s[i] >> 6) << 4};
}

// Scale of sub-block i of a Q3_K block, 0 .. 63.
constexpr int q3_scale(const uint8_t* s, int i) {
  const int low = i < 8 ? s[i] & 15 : s[i - 8] >> 4;
  const int top = s[8 + i % 4] >> (2 * (i / 4)) & 3;
  return low | top << 4;
}

constexpr void decode_eight(const BlockQ2_K& block, int i, float* out) {
  const int sub = i / 2;  // of 16 numbers
  const float scale = f16_to_f32(block.d) * float(block.scales[sub] & 15);
  const float min = f16_to_f32(block.dmin) * float(block.scales[sub] >> 4);
  const uint8_t* q = block.qs + (32 * (i / 16) + 8 * (i % 4));
  const int shift = sub / 2 % 4 * 2;
  for (int j = 0; j < 8; ++j) out[j] = scale * float(q[j] >> shift & 3) - min;
}

constexpr void decode_eight(const BlockQ3_K& block, int i, float* out) {
  const int sub = i / 2;  // of 16 numbers
  const float scale = f16_to_f32(block.d) * float(q3_scale(block.scales, sub) - 32);
  const uint8_t* low = block.qs + (32 * (i / 16) + 8 * (i % 4));
  const uint8_t* high = block.hmask + 8 * (i % 4);
  const int shift = sub / 2 % 4 * 2;
  for (int j = 0; j < 8; ++j) {
    const int q = (low[j] >> shift & 3) | (high[j] >> (i / 4) & 1) << 2;
    out[j] = scale * float(q - 4);
  }
}

constexpr void decode_eight(const BlockQ4_K& block, int i, float* out) {
  const int sub = i / 4;  // of 32 numbers
  const ScaleMin sm = scale_min(block.scales, sub);
  const float scale = f16_to_f32(block.d) * float(sm.scale);
  const float min = f16_to_f32(block.dmin) * float(sm.min);
  const uint8_t* q = block.qs + (32 * (i / 8) + 8 * (i % 4));
  const int shift = sub % 2 * 4;
  for (int j = 0; j < 8; ++j) out[j] = scale * float(q[j] >> shift & 15) - min;
}

constexpr void decode_eight(const BlockQ5_K& block, int i, float* out) {
  const int sub = i / 4;  // of 32 numbers
  const ScaleMin sm = scale_min(block.scales, sub);
  const float scale = f16_to_f32(block.d) * float(sm.scale);
  const float min = f16_to_f32(block.dmin) * float(sm.min);
  const uint8_t* low = block.qs + (32 * (i / 8) + 8 * (i % 4));
  const uint8_t* high = block.qh + 8 * (i % 4);
  const int shift = sub % 2 * 4;
  for (int j = 0; j < 8; ++j) {
    const int q = (low[j] >> shift & 15) | (high[j] >> sub & 1) << 4;
    out[j] = scale * float(q) - min;
  }
}

constexpr void decode_eight(const BlockQ6_K& block, int i, float* out) {
  const int slice = i / 4 % 4;  // which 32 of 128 numbers
  const float scale = f16_to_f32(block.d) * float(block.scales[i / 2]);
  const uint8_t* low = block.ql + (64 * (i / 16) + 32 * (slice % 2) + 8 * (i % 4));
  const uint8_t* high = block.qh + (32 * (i / 16) + 8 * (i % 4));
  for (int j = 0; j < 8; ++j) {
    const int q = (low[j] >> (slice / 2 * 4) & 15) | (high[j] >> (2 * slice) & 3) << 4;
    out[j] = scale * float(q - 32);
  }
}

constexpr void decode_eight(const BlockQ8_K& block, int i, float* out) {
  for (int j = 0; j < 8; ++j) out[j] = block.d * float(block.qs[8 * i + j]);
}

// Digit `n` (the first is 0) of a byte that stores base-3 digits t0 t1 .. as the fraction
// 0.t0t1.. * 256, rounded up: multiply by 3^n, drop the whole part, and take the next digit.
constexpr int ternary_digit(uint8_t byte, int n) {
  constexpr int kPowers[5] = {1, 3, 9, 27, 81};
  const int fraction = byte * kPowers[n] & 255;
  return fraction * 3 >> 8;
}

// All first digits of 32 bytes, all second ones, to the fifth; so of the 16 bytes behind; then four
// digits each of the last 4 bytes.
constexpr void decode_eight(const BlockTQ1_0& block, int i, float* out) {
  const float d = f16_to_f32(block.d);
  for (int j = 0; j < 8; ++j) {
    const int digit = i < 20   ? ternary_digit(block.qs[8 * (i % 4) + j], i / 4)
                      : i < 30 ? ternary_digit(block.qs[32 + 8 * (i % 2) + j], (i - 20) / 2)
                               : ternary_digit(block.qh[j % 4], 2 * (i - 30) + j / 4);
    out[j] = float(digit - 1) * d;
  }
}

constexpr void decode_eight(const BlockTQ2_0& block, int i, float* out) {
  const float d = f16_to_f32(block.d);
  const uint8_t* q = block.qs + (32 * (i / 16) + 8 * (i % 4));
  const int shift = i / 4 % 4 * 2;
  for (int j = 0; j < 8; ++j) out[j] = float((q[j] >> shift & 3) - 1) * d;
}

}  // namespace lm
