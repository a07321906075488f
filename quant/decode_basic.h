// quant/decode_basic.h — blocks of 32 with one scale, and the groups of GPTQ and AWQ: eight numbers
// at a time (see quant/decode_block.h).
#pragma once
#include <bit>

#include "quant/blocks.h"
#include "quant/codebooks.h"
#include "quant/half.h"

namespace lm {

// Eight codes of 4 bits in halves order: code j of them.
struct HalvesOrder {
  const uint8_t* bytes;
  int shift;
  // Codes 8 * i .. 8 * i + 7 of a group of 32 that starts at `qs`.
  constexpr HalvesOrder(const uint8_t* qs, int i) : bytes(qs + 8 * (i & 1)), shift(2 * (i & 2)) {}
  constexpr int operator[](int j) const { return bytes[j] >> shift & 15; }
};

constexpr void decode_eight(const BlockQ4_0& block, int i, float* out) {
  const float d = f16_to_f32(block.d);
  const HalvesOrder q(block.qs, i);
  for (int j = 0; j < 8; ++j) out[j] = float(q[j] - 8) * d;
}

constexpr void decode_eight(const BlockQ4_1& block, int i, float* out) {
  const float d = f16_to_f32(block.d);
  const float m = f16_to_f32(block.m);
  const HalvesOrder q(block.qs, i);
  for (int j = 0; j < 8; ++j) out[j] = float(q[j]) * d + m;
}

constexpr void decode_eight(const BlockQ5_0& block, int i, float* out) {
  const float d = f16_to_f32(block.d);
  const HalvesOrder low(block.qs, i);
  const int high = block.qh[i];
  for (int j = 0; j < 8; ++j) out[j] = float((low[j] | (high >> j & 1) << 4) - 16) * d;
}

constexpr void decode_eight(const BlockQ5_1& block, int i, float* out) {
  const float d = f16_to_f32(block.d);
  const float m = f16_to_f32(block.m);
  const HalvesOrder low(block.qs, i);
  const int high = block.qh[i];
  for (int j = 0; j < 8; ++j) out[j] = float(low[j] | (high >> j & 1) << 4) * d + m;
}

constexpr void decode_eight(const BlockQ8_0& block, int i, float* out) {
  const float d = f16_to_f32(block.d);
  for (int j = 0; j < 8; ++j) out[j] = float(block.qs[8 * i + j]) * d;
}

constexpr void decode_eight(const BlockQ8_1& block, int i, float* out) {
  const float d = f16_to_f32(block.d);
  for (int j = 0; j < 8; ++j) out[j] = float(block.qs[8 * i + j]) * d;
}

constexpr void decode_eight(const BlockMXFP4& block, int i, const Codebooks& books, float* out) {
  // Half of 2^(e - 127), as the code book holds doubled values; subnormal in f32 for e < 2.
  // e = 255 is NaN in the specification, but the field decodes it as 2^128.
  const uint32_t half_scale = block.e < 2 ? 0x00200000u << block.e : uint32_t(block.e - 1) << 23;
  const float d = std::bit_cast<float>(half_scale);
  const HalvesOrder q(block.qs, i);
  for (int j = 0; j < 8; ++j) out[j] = float(books.mxfp4_doubled[q[j]]) * d;
}

constexpr void decode_eight(const BlockIQ4_NL& block, int i, const Codebooks& books, float* out) {
  const float d = f16_to_f32(block.d);
  const HalvesOrder q(block.qs, i);
  for (int j = 0; j < 8; ++j) out[j] = d * float(books.iq4[q[j]]);
}

template <int kGroup>
constexpr void decode_eight(const BlockI4G<kGroup>& block, int i, float* out) {
  const float d = f16_to_f32(block.d);
  const HalvesOrder q(block.q + 16 * (i / 4), i & 3);
  for (int j = 0; j < 8; ++j) out[j] = float(q[j] - block.z) * d;
}

}  // namespace lm
