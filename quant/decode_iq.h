// quant/decode_iq.h — the IQ formats: rows of a code book, signs, and scales for 16 or 32 numbers;
// eight numbers at a time (see quant/decode_block.h). Layouts in quant/blocks.h; source:
// ggml-quants.c of ggml.
#pragma once
#include <bit>

#include "quant/blocks.h"
#include "quant/codebooks.h"
#include "quant/decode_basic.h"
#include "quant/half.h"

namespace lm {

// out[j] = scale * magnitude, negative where bit j of `signs` is set. (Signs are as good as random:
// a branch on them would cost more than the rest.)
template <int width>
constexpr void signed_row(float scale, const uint8_t (&magnitudes)[width], int signs, float* out) {
  for (int j = 0; j < width; ++j) {
    const uint32_t value = std::bit_cast<uint32_t>(scale * float(magnitudes[j]));
    out[j] = std::bit_cast<float>(value ^ uint32_t(signs >> j & 1) << 31);
  }
}

// Eight signs from seven stored bits: the number of negative ones is even.
constexpr int eight_signs(uint32_t seven_bits) {
  const uint32_t low = seven_bits & 127;
  uint32_t parity = low ^ low >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return int(low | (parity & 1) << 7);
}

constexpr uint32_t load_u32(const uint8_t* from) {
  return uint32_t(from[0]) | uint32_t(from[1]) << 8 | uint32_t(from[2]) << 16 |
         uint32_t(from[3]) << 24;
}

// IQ1 numbers are -1, 0, 1, moved by an eighth up or down.
inline constexpr float kIq1Delta = 0.125f;

constexpr void iq1_row(float scale, const int8_t (&row)[8], bool down, float* out) {
  const float delta = down ? -kIq1Delta : kIq1Delta;
  for (int j = 0; j < 8; ++j) out[j] = scale * (float(row[j]) + delta);
}

constexpr void decode_eight(const BlockIQ1_S& block, int i, const Codebooks& books, float* out) {
  const int high = block.qh[i / 4];
  const float scale = f16_to_f32(block.d) * float(2 * (high >> 12 & 7) + 1);
  const int index = block.qs[i] | (high >> (3 * (i % 4)) & 7) << 8;
  iq1_row(scale, books.iq1->rows[index], (high & 0x8000) != 0, out);
}

constexpr void decode_eight(const BlockIQ1_M& block, int i, const Codebooks& books, float* out) {
  int d_bits = 0;
  for (int k = 0; k < 4; ++k) d_bits |= (block.scales[k] >> 12) << (4 * k);
  const int sub = i / 2;  // of 16 numbers
  const int three_bits = block.scales[sub / 4] >> (3 * (sub % 4)) & 7;
  const float scale = f16_to_f32(uint16_t(d_bits)) * float(2 * three_bits + 1);
  const int high = block.qh[sub] >> (4 * (i % 2)) & 15;
  iq1_row(scale, books.iq1->rows[block.qs[i] | (high & 7) << 8], (high & 8) != 0, out);
}

constexpr void decode_eight(const BlockIQ2_XXS& block, int i, const Codebooks& books, float* out) {
  const uint8_t* indices = block.qs + 8 * (i / 4);
  const uint32_t signs = load_u32(indices + 4);
  const float scale = f16_to_f32(block.d) * (0.5f + float(signs >> 28)) * 0.25f;
  signed_row(scale, books.iq2_xxs->rows[indices[i % 4]], eight_signs(signs >> (7 * (i % 4))), out);
}

constexpr void decode_eight(const BlockIQ2_XS& block, int i, const Codebooks& books, float* out) {
  const int four_bits = block.scales[i / 4] >> (i / 2 % 2 * 4) & 15;
  const float scale = f16_to_f32(block.d) * (0.5f + float(four_bits)) * 0.25f;
  const uint32_t q = block.qs[i];
  signed_row(scale, books.iq2_xs->rows[q & 511], eight_signs(q >> 9), out);
}

constexpr void decode_eight(const BlockIQ2_S& block, int i, const Codebooks& books, float* out) {
  const int four_bits = block.scales[i / 4] >> (i / 2 % 2 * 4) & 15;
  const float scale = f16_to_f32(block.d) * (0.5f + float(four_bits)) * 0.25f;
  const int index = block.qs[i] | (block.qh[i / 4] >> (i % 4 * 2) & 3) << 8;
  signed_row(scale, books.iq2_s->rows[index], block.signs[i], out);
}

constexpr void decode_eight(const BlockIQ3_XXS& block, int i, const Codebooks& books, float* out) {
  const uint32_t packed = load_u32(block.scales_and_signs + 4 * (i / 4));
  const float scale = f16_to_f32(block.d) * (0.5f + float(packed >> 28)) * 0.5f;
  const int signs = eight_signs(packed >> (7 * (i % 4)));
  signed_row(scale, books.iq3_xxs->rows[block.qs[2 * i]], signs, out);
  signed_row(scale, books.iq3_xxs->rows[block.qs[2 * i + 1]], signs >> 4, out + 4);
}

constexpr void decode_eight(const BlockIQ3_S& block, int i, const Codebooks& books, float* out) {
  const int four_bits = block.scales[i / 8] >> (i / 4 % 2 * 4) & 15;
  const float scale = f16_to_f32(block.d) * float(1 + 2 * four_bits);
  const int high = block.qh[i / 4] >> (2 * (i % 4));
  const int first = block.qs[2 * i] | (high & 1) << 8;
  const int second = block.qs[2 * i + 1] | (high >> 1 & 1) << 8;
  signed_row(scale, books.iq3_s->rows[first], block.signs[i], out);
  signed_row(scale, books.iq3_s->rows[second], block.signs[i] >> 4, out + 4);
}

constexpr void decode_eight(const BlockIQ4_XS& block, int i, const Codebooks& books, float* out) {
  const int sub = i / 4;  // of 32 numbers
  const int low = block.scales_l[sub / 2] >> (sub % 2 * 4) & 15;
  const int high = block.scales_h >> (2 * sub) & 3;
  const float scale = f16_to_f32(block.d) * float((low | high << 4) - 32);
  const HalvesOrder q(block.qs + 16 * sub, i % 4);
  for (int j = 0; j < 8; ++j) out[j] = scale * float(books.iq4[q[j]]);
}

}  // namespace lm
