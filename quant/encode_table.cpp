// quant/encode_table.cpp — formats whose numbers are a scale times a value of a table of 16:
// IQ4_NL, IQ4_XS and MXFP4. Several scales are tried; each number takes the nearest value, and
// where the scale is free it is solved for by least squares. Layouts in quant/blocks.h.
#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/codebooks.h"
#include "quant/encode_block.h"
#include "quant/encode_fit.h"
#include "quant/group.h"
#include "quant/half.h"
#include "quant/pack_codes.h"

namespace lm {
namespace {

constexpr int kElems = 32;

// The index of the value in kIq4Values (rising) that is nearest to v; of two, the lower one.
int nearest_iq4(float v) {
  int index = 0;
  for (int i = 0; i < 15; ++i) index += 2 * v > float(kIq4Values[i] + kIq4Values[i + 1]) ? 1 : 0;
  return index;
}

// The values of the table that are nearest to x * inv.
void to_iq4_values(const float* x, float inv, float* values) {
  for (int j = 0; j < kElems; ++j) values[j] = float(kIq4Values[nearest_iq4(x[j] * inv)]);
}

float extreme_of(const float* x) {
  float extreme = 0;
  for (int j = 0; j < kElems; ++j) {
    if (std::fabs(x[j]) > std::fabs(extreme)) extreme = x[j];
  }
  return extreme;
}

// x ~ d * a value of kIq4Values. The number farthest from 0 lands near one end of the table, -127
// or 113; 5 steps of 4% around each.
float fit_iq4(const float* x, const float* w) {
  const float extreme = extreme_of(x);
  float best_d = 0;
  float best_error = std::numeric_limits<float>::infinity();
  for (const float bound : {-127.0f, 113.0f}) {
    for (int step = -2; step <= 2; ++step) {
      float values[kElems];
      to_iq4_values(x, inverse(extreme / (bound * (1 + 0.04f * float(step)))), values);
      const Moments s = moments(x, w, values);
      const float d = s.xq * inverse(s.qq);
      const float error = weighted_error(x, w, values, d);
      if (error < best_error) {
        best_error = error;
        best_d = d;
      }
    }
  }
  return best_d;
}

}  // namespace

void encode_block(const float* x, const float* weights, EncodePath, BlockIQ4_NL& block) {
  block.d = stored_scale(fit_iq4(x, weights_or_ones(weights)));
  const float inv = inverse(f16_to_f32(block.d));
  int q[kElems];
  for (int j = 0; j < kElems; ++j) q[j] = nearest_iq4(x[j] * inv);
  pack_halves(q, kElems, block.qs);
}

// ---- IQ4_XS: 8 of these with scales of 6 bits under one d; fitted as Q3_K is (encode_k.cpp)

namespace {

constexpr int kSubs = 8;
constexpr int kScaleMin = -32, kScaleMax = 31;
constexpr int kRefits = 2;

struct XsFit {
  uint16_t d = 0;
  int scale[kSubs] = {};
  float error = std::numeric_limits<float>::infinity();
};

// Chooses every sub-block's scale under fit.d; returns the d that would suit those choices best.
float choose_scales(const float* x, const float* w, const float (&ideal)[kSubs], XsFit& fit) {
  const float d = f16_to_f32(fit.d);
  float numerator = 0, denominator = 0;
  fit.error = 0;
  for (int i = 0; i < kSubs; ++i) {
    const float* xi = group<kElems>(x, i);
    const float* wi = group<kElems>(w, i);
    const int near =
        int(std::clamp(std::nearbyint(ideal[i] * inverse(d)), float(kScaleMin), float(kScaleMax)));
    float best_error = std::numeric_limits<float>::infinity();
    Moments best;
    for (int s = std::max(kScaleMin, near - 1); s <= std::min(kScaleMax, near + 1); ++s) {
      float values[kElems];
      const float step = d * float(s);
      to_iq4_values(xi, inverse(step), values);
      const float error = weighted_error(xi, wi, values, step);
      if (error >= best_error) continue;
      best_error = error;
      fit.scale[i] = s;
      best = moments(xi, wi, values);
    }
    fit.error += best_error;
    numerator += float(fit.scale[i]) * best.xq;
    denominator += float(fit.scale[i]) * float(fit.scale[i]) * best.qq;
  }
  return numerator * inverse(denominator);
}

}  // namespace

void encode_block(const float* x, const float* weights, EncodePath, BlockIQ4_XS& block) {
  const float* w = weights_or_ones(weights);
  float ideal[kSubs];
  float extreme = 0;  // the scale farthest from 0 becomes kScaleMin, which is one step more
  for (int i = 0; i < kSubs; ++i) {
    ideal[i] = fit_iq4(group<kElems>(x, i), group<kElems>(w, i));
    if (std::fabs(ideal[i]) > std::fabs(extreme)) extreme = ideal[i];
  }
  XsFit best, fit;
  fit.d = stored_scale_outward(extreme / float(kScaleMin));
  for (int round = 0; round <= kRefits; ++round) {
    const float again = choose_scales(x, w, ideal, fit);
    if (fit.error < best.error) best = fit;
    fit.d = stored_scale(again);
  }
  block.d = best.d;
  block.scales_h = 0;
  std::fill_n(block.scales_l, 4, uint8_t(0));
  for (int i = 0; i < kSubs; ++i) {
    const int scale = best.scale[i] + 32;
    block.scales_l[i / 2] |= uint8_t((scale & 15) << (i % 2 * 4));
    block.scales_h = uint16_t(block.scales_h | (scale >> 4) << (2 * i));
    const float inv = inverse(f16_to_f32(best.d) * float(best.scale[i]));
    int q[kElems];
    for (int j = 0; j < kElems; ++j) q[j] = nearest_iq4(group<kElems>(x, i)[j] * inv);
    pack_halves(q, kElems, block.qs + 16 * i);
  }
}

// ---- MXFP4: the scale is a power of 2

namespace {

// The index of the value in kMxfp4DoubledValues that is nearest to v.
int nearest_mxfp4(float v) {
  const float magnitude = std::fabs(v);
  int index = 0;
  for (int i = 0; i < 7; ++i) {
    index += 2 * magnitude > float(kMxfp4DoubledValues[i] + kMxfp4DoubledValues[i + 1]) ? 1 : 0;
  }
  return v < 0 && index > 0 ? index + 8 : index;
}

}  // namespace

void encode_block(const float* x, const float* weights, EncodePath, BlockMXFP4& block) {
  constexpr int kBias = 127, kMostExponent = 254;  // 255 is NaN in the specification
  constexpr float kLargest = 6;
  const float* w = weights_or_ones(weights);
  const float extreme = std::fabs(extreme_of(x));
  float best_error = std::numeric_limits<float>::infinity();
  int q[kElems];
  block.e = 0;
  std::fill_n(block.qs, 16, uint8_t(0));
  if (!(extreme > 0) || !std::isfinite(extreme)) return;
  // The largest scale at which nothing is cut, and the two below it.
  const int widest = int(std::max(std::ceil(std::log2(extreme / kLargest)), float(-kBias)));
  for (int exponent = widest; exponent > widest - 3; --exponent) {
    const int e = std::clamp(exponent + kBias, 0, kMostExponent);
    const float half_scale = std::ldexp(0.5f, e - kBias);
    const float inv = inverse(half_scale);
    float values[kElems];
    for (int j = 0; j < kElems; ++j) {
      q[j] = nearest_mxfp4(x[j] * inv);
      values[j] = float(kMxfp4DoubledValues[q[j]]);
    }
    const float error = weighted_error(x, w, values, half_scale);
    if (!(error < best_error)) continue;
    best_error = error;
    block.e = uint8_t(e);
    pack_halves(q, kElems, block.qs);
  }
}

}  // namespace lm
