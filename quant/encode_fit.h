// quant/encode_fit.h — the scale (and minimum) that represents a few numbers best, by weighted
// least squares. Inside the room only. Groups are kGroup numbers; weights are > 0; all are finite.
#pragma once
#include <cstdint>

#include "quant/encode.h"

namespace lm {

inline constexpr int kGroup = 32;

// The largest half; a scale that is larger is stored as this.
inline constexpr float kMaxHalf = 65504.0f;

// A scale as it is stored: nearest half, never infinite.
uint16_t stored_scale(float d);

// The smallest half whose magnitude is not below |d| (except beyond the largest half): whole
// multiples of it up to k reach k * d.
uint16_t stored_scale_outward(float d);

// 1 / d, or 0 where that is not a finite number.
float inverse(float d);

// w, or up to 256 weights of 1 where it is null.
const float* weights_or_ones(const float* w);

// q[j] = the whole number of [lo, hi] nearest to x[j] * inv + offset.
void quantize(const float* x, float inv, float offset, int lo, int hi, float* q);

// x ~ d * q with q in [lo, hi], lo < 0 < hi. The sign of d is free. 0 when all x are 0.
float fit_scale(const float* x, const float* w, int lo, int hi, EncodePath path);

struct ScaleMin {
  float d;
  float m;
};

// x ~ d * q + m with q in [0, hi] and d >= 0.
ScaleMin fit_scale_min(const float* x, const float* w, int hi, EncodePath path);

}  // namespace lm
