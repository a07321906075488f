// quant/decode_iq.cpp — the IQ formats: rows of a code book, signs, and scales for 16 or 32
// numbers. Layouts in quant/blocks.h; source: ggml-quants.c of ggml.
#include <bit>
#include <cstring>

#include "quant/codebooks.h"
#include "quant/decode_block.h"
#include "quant/group.h"
#include "quant/half.h"

namespace lm {
namespace {

// out[j] = scale * magnitude, negative where bit j of `signs` is set. (Signs are as good as random:
// a branch on them would cost more than the rest.)
template <int width>
void signed_row(float scale, const uint8_t (&magnitudes)[width], int signs, float* out) {
  for (int j = 0; j < width; ++j) {
    const uint32_t value = std::bit_cast<uint32_t>(scale * float(magnitudes[j]));
    out[j] = std::bit_cast<float>(value ^ uint32_t(signs >> j & 1) << 31);
  }
}

// Eight signs from seven stored bits: the number of negative ones is even.
int eight_signs(uint32_t seven_bits) {
  const uint32_t low = seven_bits & 127;
  return int(low | uint32_t(std::popcount(low) & 1) << 7);
}

uint32_t load_u32(const uint8_t* from) {
  uint32_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// IQ1 numbers are -1, 0, 1, moved by an eighth up or down.
constexpr float kIq1Delta = 0.125f;

void iq1_row(float scale, int index, bool down, float* out) {
  const float delta = down ? -kIq1Delta : kIq1Delta;
  for (int j = 0; j < 8; ++j) out[j] = scale * (float(kIq1Grid.rows[index][j]) + delta);
}

}  // namespace

void decode_block(const BlockIQ1_S& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < 8; ++i) {
    const int high = block.qh[i];
    const float scale = d * float(2 * (high >> 12 & 7) + 1);
    for (int r = 0; r < 4; ++r) {
      const int index = block.qs[4 * i + r] | (high >> (3 * r) & 7) << 8;
      iq1_row(scale, index, (high & 0x8000) != 0, group<8>(out, 4 * i + r));
    }
  }
}

void decode_block(const BlockIQ1_M& block, float* out) {
  int d_bits = 0;
  for (int k = 0; k < 4; ++k) d_bits |= (block.scales[k] >> 12) << (4 * k);
  const float d = f16_to_f32(uint16_t(d_bits));
  for (int i = 0; i < 16; ++i) {
    const float scale = d * float(2 * (block.scales[i / 4] >> (3 * (i % 4)) & 7) + 1);
    for (int r = 2 * i; r < 2 * i + 2; ++r) {  // grid row of the block
      const int high = block.qh[i] >> (4 * (r % 2)) & 15;
      iq1_row(scale, block.qs[r] | (high & 7) << 8, (high & 8) != 0, group<8>(out, r));
    }
  }
}

void decode_block(const BlockIQ2_XXS& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < 8; ++i) {
    const uint8_t* indices = group<8>(block.qs, i);
    const uint32_t signs = load_u32(indices + 4);
    const float scale = d * (0.5f + float(signs >> 28)) * 0.25f;
    for (int r = 0; r < 4; ++r) {
      signed_row(scale, kIq2XxsGrid.rows[indices[r]], eight_signs(signs >> (7 * r)),
                 group<8>(out, 4 * i + r));
    }
  }
}

void decode_block(const BlockIQ2_XS& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int r = 0; r < 32; ++r) {  // grid row; two to a scale
    const int four_bits = block.scales[r / 4] >> (r / 2 % 2 * 4) & 15;
    const float scale = d * (0.5f + float(four_bits)) * 0.25f;
    const uint32_t q = block.qs[r];
    signed_row(scale, kIq2XsGrid.rows[q & 511], eight_signs(q >> 9), group<8>(out, r));
  }
}

void decode_block(const BlockIQ2_S& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int r = 0; r < 32; ++r) {  // grid row; two to a scale
    const int four_bits = block.scales[r / 4] >> (r / 2 % 2 * 4) & 15;
    const float scale = d * (0.5f + float(four_bits)) * 0.25f;
    const int index = block.qs[r] | (block.qh[r / 4] >> (r % 4 * 2) & 3) << 8;
    signed_row(scale, kIq2SGrid.rows[index], block.signs[r], group<8>(out, r));
  }
}

void decode_block(const BlockIQ3_XXS& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < 8; ++i) {
    const uint32_t packed = load_u32(group<4>(block.scales_and_signs, i));
    const float scale = d * (0.5f + float(packed >> 28)) * 0.5f;
    for (int r = 0; r < 4; ++r) {  // 8 numbers: two grid rows
      const int signs = eight_signs(packed >> (7 * r));
      const uint8_t* index = group<2>(block.qs, 4 * i + r);
      float* to = group<8>(out, 4 * i + r);
      signed_row(scale, kIq3XxsGrid.rows[index[0]], signs, to);
      signed_row(scale, kIq3XxsGrid.rows[index[1]], signs >> 4, to + 4);
    }
  }
}

void decode_block(const BlockIQ3_S& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int r = 0; r < 64; ++r) {  // grid row; eight to a scale
    const int four_bits = block.scales[r / 16] >> (r / 8 % 2 * 4) & 15;
    const float scale = d * float(1 + 2 * four_bits);
    const int index = block.qs[r] | (block.qh[r / 8] >> (r % 8) & 1) << 8;
    signed_row(scale, kIq3SGrid.rows[index], block.signs[r / 2] >> (r % 2 * 4), group<4>(out, r));
  }
}

void decode_block(const BlockIQ4_XS& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int i = 0; i < 8; ++i) {
    const int low = block.scales_l[i / 2] >> (i % 2 * 4) & 15;
    const int high = block.scales_h >> (2 * i) & 3;
    const float scale = d * float((low | high << 4) - 32);
    for (int j = 0; j < 16; ++j) {
      const uint8_t q = block.qs[16 * i + j];
      out[32 * i + j] = scale * float(kIq4Values[q & 15]);
      out[32 * i + j + 16] = scale * float(kIq4Values[q >> 4]);
    }
  }
}

}  // namespace lm
