// quant/encode_k.cpp — K-quants: super-blocks of 256 whose sub-blocks have quantized scales.
// Each sub-block is fitted alone; then the super-block's scale is chosen, each sub-block takes the
// whole-number scale (and minimum) that leaves the least error with it, and the super-block's scale
// is solved for again by least squares. Layouts in quant/blocks.h.
#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/encode_block.h"
#include "quant/encode_fit.h"
#include "quant/group.h"
#include "quant/half.h"
#include "quant/pack_codes.h"

namespace lm {
namespace {

constexpr int kElems = 256;
constexpr int kRefits = 2;  // none: 0.1 .. 2% more RMSE; a third: up to 0.3% less

// ---- x ~ d * scale * q - dmin * min ----

template <int n, int q_max, int scale_max>
struct MinFormat {
  static constexpr int kSub = n;               // numbers in a sub-block
  static constexpr int kSubs = kElems / n;     // sub-blocks
  static constexpr int kQMax = q_max;          // q in 0 .. kQMax
  static constexpr int kScaleMax = scale_max;  // scale and min in 0 .. kScaleMax
};
using Q2Format = MinFormat<16, 3, 15>;
using Q4Format = MinFormat<32, 15, 63>;
using Q5Format = MinFormat<32, 31, 63>;

// A super-block before it is packed. q holds whole numbers.
template <class Format>
struct MinBlock {
  uint16_t d = 0;
  uint16_t dmin = 0;
  int scale[Format::kSubs] = {};
  int min[Format::kSubs] = {};
  float q[kElems] = {};
  float error = std::numeric_limits<float>::infinity();
};

// Tries scale and min around their ideal values for sub-block i under the block's d and dmin, keeps
// the best, and returns its error.
template <class Format>
float choose_sub_block(const float* x, const float* w, ScaleMin ideal, int i,
                       MinBlock<Format>& block) {
  constexpr int kSub = Format::kSub;
  const float d = f16_to_f32(block.d);
  const float dmin = f16_to_f32(block.dmin);
  const auto nearest = [](float v) {
    return int(std::clamp(std::nearbyint(v), 0.0f, float(Format::kScaleMax)));
  };
  const int scale0 = nearest(ideal.d * inverse(d));
  const int min0 = nearest(-ideal.m * inverse(dmin));
  float best_error = std::numeric_limits<float>::infinity();
  float q[kSub];
  for (int scale = std::max(0, scale0 - 1); scale <= std::min(Format::kScaleMax, scale0 + 1);
       ++scale) {
    for (int min = std::max(0, min0 - 1); min <= std::min(Format::kScaleMax, min0 + 1); ++min) {
      const float step = d * float(scale);
      const float m = dmin * float(min);
      const float inv = inverse(step);
      quantize<kSub>(group<kSub>(x, i), inv, m * inv, 0, Format::kQMax, q);
      const float error = weighted_error<kSub>(group<kSub>(x, i), group<kSub>(w, i), q, step, -m);
      if (error < best_error) {
        best_error = error;
        block.scale[i] = scale;
        block.min[i] = min;
        std::copy_n(q, kSub, group<kSub>(block.q, i));
      }
    }
  }
  return best_error;
}

// d and dmin that suit the block's whole numbers best: least squares for x ~ d * a - dmin * b with
// a = scale * q and b = min.
template <class Format>
ScaleMin refit(const float* x, const float* w, const MinBlock<Format>& block) {
  constexpr int kSub = Format::kSub;
  float aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
  for (int i = 0; i < Format::kSubs; ++i) {
    const Moments s = moments<kSub>(group<kSub>(x, i), group<kSub>(w, i), group<kSub>(block.q, i));
    const float scale = float(block.scale[i]);
    const float min = float(block.min[i]);
    aa += scale * scale * s.qq;
    ab += scale * min * s.q;
    bb += min * min * s.w;
    xa += scale * s.xq;
    xb += min * s.x;
  }
  const float determinant = aa * bb - ab * ab;
  if (determinant > 1e-6f * aa * bb) {
    return {(xa * bb - xb * ab) / determinant, (xa * ab - xb * aa) / determinant};
  }
  return {xa * inverse(aa), bb > 0 && aa == 0 ? -xb / bb : 0};
}

template <class Format>
MinBlock<Format> fit_block(const float* x, const float* w) {
  constexpr int kSub = Format::kSub;
  ScaleMin ideal[Format::kSubs];
  float largest_scale = 0;
  float largest_min = 0;
  for (int i = 0; i < Format::kSubs; ++i) {
    ideal[i] = fit_scale_min<kSub>(group<kSub>(x, i), group<kSub>(w, i), Format::kQMax, true);
    largest_scale = std::max(largest_scale, ideal[i].d);
    largest_min = std::max(largest_min, -ideal[i].m);
  }
  MinBlock<Format> best;
  MinBlock<Format> block;
  block.d = stored_scale_outward(largest_scale / float(Format::kScaleMax));
  block.dmin = stored_scale_outward(largest_min / float(Format::kScaleMax));
  for (int round = 0; round <= kRefits; ++round) {
    block.error = 0;
    for (int i = 0; i < Format::kSubs; ++i)
      block.error += choose_sub_block(x, w, ideal[i], i, block);
    if (block.error < best.error) best = block;
    const ScaleMin again = refit(x, w, block);
    block.d = stored_scale(std::max(again.d, 0.0f));
    block.dmin = stored_scale(std::max(again.m, 0.0f));
  }
  return best;
}

// The 12 bytes of Q4_K and Q5_K; the inverse of scale_min in decode_k.cpp.
template <class Format>
void pack_scales(const MinBlock<Format>& from, uint8_t* scales) {
  for (int i = 0; i < 4; ++i) {
    scales[i] = uint8_t(from.scale[i] | (from.scale[i + 4] >> 4) << 6);
    scales[i + 4] = uint8_t(from.min[i] | (from.min[i + 4] >> 4) << 6);
    scales[i + 8] = uint8_t((from.scale[i + 4] & 15) | (from.min[i + 4] & 15) << 4);
  }
}

// q as integers, moved up by `offset`.
void to_integers(const float* from, int offset, int (&q)[kElems]) {
  for (int j = 0; j < kElems; ++j) q[j] = int(from[j]) + offset;
}

}  // namespace

void encode_block(const float* x, const float* w, BlockQ2_K& block) {
  const auto fit = fit_block<Q2Format>(x, weights_or_ones(w));
  int q[kElems];
  to_integers(fit.q, 0, q);
  block.d = fit.d;
  block.dmin = fit.dmin;
  for (int i = 0; i < 16; ++i) block.scales[i] = uint8_t(fit.scale[i] | fit.min[i] << 4);
  set_codes(q, block);
}

void encode_block(const float* x, const float* w, BlockQ4_K& block) {
  const auto fit = fit_block<Q4Format>(x, weights_or_ones(w));
  int q[kElems];
  to_integers(fit.q, 0, q);
  block.d = fit.d;
  block.dmin = fit.dmin;
  pack_scales(fit, block.scales);
  set_codes(q, block);
}

void encode_block(const float* x, const float* w, BlockQ5_K& block) {
  const auto fit = fit_block<Q5Format>(x, weights_or_ones(w));
  int q[kElems];
  to_integers(fit.q, 0, q);
  block.d = fit.d;
  block.dmin = fit.dmin;
  pack_scales(fit, block.scales);
  set_codes(q, block);
}

// ---- x ~ d * scale * q, in sub-blocks of 16 ----

namespace {

constexpr int kSignedSub = 16;
constexpr int kSignedSubs = kElems / kSignedSub;

template <int q_min, int scale_min>
struct SignedFormat {
  static constexpr int kQMin = q_min;  // q in kQMin .. -kQMin - 1
  static constexpr int kQMax = -q_min - 1;
  static constexpr int kScaleMin = scale_min;  // likewise
  static constexpr int kScaleMax = -scale_min - 1;
};
using Q3Format = SignedFormat<-4, -32>;
using Q6Format = SignedFormat<-32, -128>;

struct SignedBlock {
  uint16_t d = 0;
  int scale[kSignedSubs] = {};
  float q[kElems] = {};
  float error = std::numeric_limits<float>::infinity();
};

// As choose_sub_block above, for a scale alone.
template <class Format>
float choose_scale(const float* x, const float* w, float ideal, int i, SignedBlock& block) {
  const float d = f16_to_f32(block.d);
  const int scale0 = int(std::clamp(std::nearbyint(ideal * inverse(d)), float(Format::kScaleMin),
                                    float(Format::kScaleMax)));
  float best_error = std::numeric_limits<float>::infinity();
  float q[kSignedSub];
  for (int scale = std::max(Format::kScaleMin, scale0 - 1);
       scale <= std::min(Format::kScaleMax, scale0 + 1); ++scale) {
    const float step = d * float(scale);
    quantize<kSignedSub>(group<kSignedSub>(x, i), inverse(step), 0, Format::kQMin, Format::kQMax,
                         q);
    const float error =
        weighted_error<kSignedSub>(group<kSignedSub>(x, i), group<kSignedSub>(w, i), q, step, 0);
    if (error < best_error) {
      best_error = error;
      block.scale[i] = scale;
      std::copy_n(q, kSignedSub, group<kSignedSub>(block.q, i));
    }
  }
  return best_error;
}

template <class Format>
SignedBlock fit_signed_block(const float* x, const float* w) {
  float ideal[kSignedSubs];
  float extreme = 0;  // the scale farthest from 0 becomes kScaleMin, which is one step more
  for (int i = 0; i < kSignedSubs; ++i) {
    ideal[i] = fit_scale<kSignedSub>(group<kSignedSub>(x, i), group<kSignedSub>(w, i),
                                     Format::kQMin, Format::kQMax);
    if (std::fabs(ideal[i]) > std::fabs(extreme)) extreme = ideal[i];
  }
  SignedBlock best;
  SignedBlock block;
  block.d = stored_scale_outward(extreme / float(Format::kScaleMin));
  for (int round = 0; round <= kRefits; ++round) {
    block.error = 0;
    float numerator = 0;
    float denominator = 0;
    for (int i = 0; i < kSignedSubs; ++i) {
      block.error += choose_scale<Format>(x, w, ideal[i], i, block);
      const Moments s = moments<kSignedSub>(group<kSignedSub>(x, i), group<kSignedSub>(w, i),
                                            group<kSignedSub>(block.q, i));
      const float scale = float(block.scale[i]);
      numerator += scale * s.xq;
      denominator += scale * scale * s.qq;
    }
    if (block.error < best.error) best = block;
    block.d = stored_scale(numerator * inverse(denominator));
  }
  return best;
}

}  // namespace

void encode_block(const float* x, const float* w, BlockQ3_K& block) {
  const SignedBlock fit = fit_signed_block<Q3Format>(x, weights_or_ones(w));
  int q[kElems];
  to_integers(fit.q, 4, q);
  block.d = fit.d;
  std::fill_n(block.scales, 12, uint8_t(0));
  for (int i = 0; i < 16; ++i) {
    const int scale = fit.scale[i] + 32;
    block.scales[i % 8] |= uint8_t((scale & 15) << (i / 8 * 4));
    block.scales[8 + i % 4] |= uint8_t((scale >> 4) << (i / 4 * 2));
  }
  set_codes(q, block);
}

void encode_block(const float* x, const float* w, BlockQ6_K& block) {
  const SignedBlock fit = fit_signed_block<Q6Format>(x, weights_or_ones(w));
  int q[kElems];
  to_integers(fit.q, 32, q);
  block.d = fit.d;
  for (int i = 0; i < 16; ++i) block.scales[i] = int8_t(fit.scale[i]);
  set_codes(q, block);
}

}  // namespace lm
