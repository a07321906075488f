// quant/encode_basic.cpp — the blocks of 32. Q8_0 and Q4_0 without weights are the field's standard
// definition (quantize_row_*_ref in ggml-quants.c), so that files agree byte for byte.
#include <algorithm>
#include <cmath>

#include "quant/encode_block.h"
#include "quant/half.h"

namespace lm {
namespace {

constexpr float kMaxHalf = 65504.0f;

// A scale as it will be stored. Too large for a half is the largest half, not infinity.
uint16_t stored_scale(float d) {
  return f32_to_f16(std::clamp(d, -kMaxHalf, kMaxHalf));
}

// 1 / d, or 0 where that is not a number: the block's scale is then 0 in a half anyway.
float inverse(float d) {
  const float inv = 1.0f / d;
  return std::isfinite(inv) ? inv : 0.0f;
}

}  // namespace

void encode_block(const float* x, const float*, BlockQ8_0& block) {
  float amax = 0;
  for (int j = 0; j < 32; ++j) amax = std::max(amax, std::fabs(x[j]));
  const float d = amax / 127;
  const float inv = inverse(d);
  block.d = stored_scale(d);
  for (int j = 0; j < 32; ++j) block.qs[j] = int8_t(std::round(x[j] * inv));
}

void encode_block(const float* x, const float*, BlockQ4_0& block) {
  float extreme = 0;  // the number farthest from 0 becomes exactly -8 * d
  for (int j = 0; j < 32; ++j) {
    if (std::fabs(x[j]) > std::fabs(extreme)) extreme = x[j];
  }
  const float d = extreme / -8;
  const float inv = inverse(d);
  block.d = stored_scale(d);
  const auto quantized = [inv](float v) { return uint8_t(std::min(15, int(v * inv + 8.5f))); };
  for (int j = 0; j < 16; ++j) {
    block.qs[j] = uint8_t(quantized(x[j]) | quantized(x[j + 16]) << 4);
  }
}

}  // namespace lm
