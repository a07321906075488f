// quant/encode_basic.cpp — the blocks of 32. Q8_0, and Q4_0 without weights, are the field's
// standard definition (quantize_row_*_ref in ggml-quants.c), so that files agree byte for byte; the
// others, whose files differ between programs anyway, are fitted (encode_fit.h).
#include <algorithm>
#include <cmath>

#include "quant/encode_block.h"
#include "quant/encode_fit.h"
#include "quant/half.h"
#include "quant/pack_codes.h"

namespace lm {
namespace {

constexpr int kElems = 32;

// The number farthest from 0, with its sign.
float extreme_of(const float* x) {
  float extreme = 0;
  for (int j = 0; j < kElems; ++j) {
    if (std::fabs(x[j]) > std::fabs(extreme)) extreme = x[j];
  }
  return extreme;
}

// d and q (0 .. levels-1) of x ~ d * (q - levels / 2).
uint16_t fit_symmetric(const float* x, const float* w, int levels, EncodePath path,
                       int (&q)[kElems]) {
  const int middle = levels / 2;
  const uint16_t d = stored_scale(fit_scale(x, w, -middle, middle - 1, path));
  float whole[kElems];
  quantize(x, inverse(f16_to_f32(d)), float(middle), 0, levels - 1, whole);
  for (int j = 0; j < kElems; ++j) q[j] = int(whole[j]);
  return d;
}

// d, m and q (0 .. levels-1) of x ~ d * q + m.
template <class Block>
void fit_with_min(const float* x, const float* w, int levels, EncodePath path, Block& block,
                  int (&q)[kElems]) {
  const ScaleMin fit = fit_scale_min(x, w, levels - 1, path);
  block.d = stored_scale(fit.d);
  block.m = stored_scale(fit.m);
  const float inv = inverse(f16_to_f32(block.d));
  float whole[kElems];
  quantize(x, inv, -f16_to_f32(block.m) * inv, 0, levels - 1, whole);
  for (int j = 0; j < kElems; ++j) q[j] = int(whole[j]);
}

}  // namespace

void encode_block(const float* x, const float*, EncodePath, BlockQ8_0& block) {
  const float d = std::min(std::fabs(extreme_of(x)) / 127, kMaxHalf);
  const float inv = inverse(d);
  block.d = stored_scale(d);
  for (int j = 0; j < kElems; ++j) {
    block.qs[j] = int8_t(std::clamp(std::round(x[j] * inv), -127.0f, 127.0f));
  }
}

void encode_block(const float* x, const float* w, EncodePath path, BlockQ4_0& block) {
  int q[kElems];
  if (w != nullptr) {
    block.d = fit_symmetric(x, w, 16, path, q);
  } else {
    const float d = std::clamp(extreme_of(x) / -8, -kMaxHalf, kMaxHalf);
    const float inv = inverse(d);
    block.d = stored_scale(d);
    for (int j = 0; j < kElems; ++j) q[j] = int(std::clamp(x[j] * inv + 8.5f, 0.0f, 15.0f));
  }
  set_codes(q, block);
}

void encode_block(const float* x, const float* w, EncodePath path, BlockQ4_1& block) {
  int q[kElems];
  fit_with_min(x, weights_or_ones(w), 16, path, block, q);
  set_codes(q, block);
}

void encode_block(const float* x, const float* w, EncodePath path, BlockQ5_0& block) {
  int q[kElems];
  block.d = fit_symmetric(x, weights_or_ones(w), 32, path, q);
  set_codes(q, block);
}

void encode_block(const float* x, const float* w, EncodePath path, BlockQ5_1& block) {
  int q[kElems];
  fit_with_min(x, weights_or_ones(w), 32, path, block, q);
  set_codes(q, block);
}

namespace {

// GPTQ's asymmetric grid (arXiv:2210.17323, "find_params" of its code): 0 is always one of its
// points, so that the zero-point lies within 0..15.
template <int kGroup>
void encode_group(const float* x, BlockI4G<kGroup>& block) {
  const auto [least, most] = std::minmax_element(x, x + kGroup);
  const float low = std::min(*least, 0.0f), high = std::max(*most, 0.0f);
  block.d = stored_scale((high - low) / 15);
  const float inv = inverse(f16_to_f32(block.d));
  const float zero = std::clamp(std::nearbyint(-low * inv), 0.0f, 15.0f);
  block.z = uint8_t(zero);
  for (int i = 0; i < kGroup; i += kElems) {
    int q[kElems];
    for (int j = 0; j < kElems; ++j) {
      q[j] = int(std::clamp(std::nearbyint(x[i + j] * inv) + zero, 0.0f, 15.0f));
    }
    pack_halves(q, kElems, block.q + i / 2);
  }
}

}  // namespace

void encode_block(const float* x, const float*, EncodePath, BlockI4G<32>& block) {
  encode_group(x, block);
}
void encode_block(const float* x, const float*, EncodePath, BlockI4G<64>& block) {
  encode_group(x, block);
}
void encode_block(const float* x, const float*, EncodePath, BlockI4G<128>& block) {
  encode_group(x, block);
}

}  // namespace lm
