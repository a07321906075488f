// quant/encode_table.cpp — formats whose numbers are a scale times a value of a table of 16:
// IQ4_NL, IQ4_XS and MXFP4. Several scales are tried; each number takes the nearest value, and
// where the scale is free it is solved for by least squares. Layouts in quant/blocks.h.
// Number j of a group is in lane j % 8 of vector j / 8, so that sums have a fixed order.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "quant/codebooks.h"
#include "quant/encode_block.h"
#include "quant/encode_lanes.h"
#include "quant/half.h"
#include "quant/pack_codes.h"

namespace lm {
namespace {

constexpr int kElems = kGroup;
constexpr int kVectors = kElems / kLanes;

// A group of numbers, or their weights, or values that stand for them.
struct Numbers {
  Lanes v[kVectors];
};

[[gnu::always_inline]] inline Numbers load(const float* from) {
  Numbers to;
  std::memcpy(&to, from, sizeof to);
  return to;
}
[[gnu::always_inline]] inline Numbers times(const Numbers& x, float factor) {
  Numbers to;
  for (int i = 0; i < kVectors; ++i) to.v[i] = x.v[i] * factor;
  return to;
}

// Least-squares sums for x ~ d * q, and the error that a d leaves.
struct Moments {
  float qq = 0;  // sum of w * q * q
  float xq = 0;  // sum of w * x * q
};
[[gnu::always_inline]] inline Moments moments(const Numbers& x, const Numbers& w,
                                              const Numbers& q) {
  Lanes qq = splat(0), xq = splat(0);
  for (int i = 0; i < kVectors; ++i) {
    const Lanes wq = w.v[i] * q.v[i];
    qq += wq * q.v[i];
    xq += wq * x.v[i];
  }
  return {sum_of(qq), sum_of(xq)};
}
[[gnu::always_inline]] inline float weighted_error(const Numbers& x, const Numbers& w,
                                                   const Numbers& q, float d) {
  Lanes error = splat(0);
  for (int i = 0; i < kVectors; ++i) {
    const Lanes rest = x.v[i] - d * q.v[i];
    error += w.v[i] * rest * rest;
  }
  return sum_of(error);
}

// The first of the numbers that are farthest from 0.
[[gnu::always_inline]] inline float extreme_of(const Numbers& x) {
  Lanes most = splat(0);
  for (const Lanes& v : x.v) most = at_least(most, at_least(v, -v));
  float largest = 0;
  for (int k = 0; k < kLanes; ++k) largest = std::max(largest, most[k]);
  for (int j = 0; j < kElems; ++j) {
    const float v = x.v[j / kLanes][j % kLanes];
    if (std::fabs(v) == largest) return v;
  }
  return 0;
}

// The first n entries of a table, where they rise: twice the midpoints between neighbours, and how
// far apart those are. A number's nearest entry, of two the lower one, is as many steps above the
// first as midpoints lie below the number (for NaN: none).
template <int n>
struct Rise {
  float first = 0;
  float twice_between[n - 1] = {};
  float step[n - 1] = {};
  constexpr explicit Rise(const int8_t (&table)[16]) : first(table[0]) {
    for (int i = 0; i + 1 < n; ++i) {
      twice_between[i] = float(table[i] + table[i + 1]);
      step[i] = float(table[i + 1] - table[i]);
    }
  }
};
constexpr Rise<16> kIq4Rise(kIq4Values);

template <int n>
[[gnu::always_inline]] inline Numbers nearest_values(const Rise<n>& rise, const Numbers& x) {
  Numbers values;
  for (Lanes& value : values.v) value = splat(rise.first);
  for (int i = 0; i + 1 < n; ++i) {
    const Lanes between = splat(rise.twice_between[i]), step = splat(rise.step[i]);
    for (int k = 0; k < kVectors; ++k) {
      values.v[k] += x.v[k] + x.v[k] > between ? step : splat(0);
    }
  }
  return values;
}

using WholeLanes = decltype(Lanes{} > Lanes{});
struct Indices {
  WholeLanes v[kVectors];
};
template <int n>
[[gnu::always_inline]] inline Indices nearest_indices(const Rise<n>& rise, const Numbers& x) {
  Indices indices = {};
  for (int i = 0; i + 1 < n; ++i) {
    const Lanes between = splat(rise.twice_between[i]);
    // What is true is -1.
    for (int k = 0; k < kVectors; ++k) indices.v[k] -= x.v[k] + x.v[k] > between;
  }
  return indices;
}
[[gnu::always_inline]] inline void pack(const Indices& indices, uint8_t* qs) {
  int q[kElems];
  static_assert(sizeof q == sizeof indices);
  std::memcpy(q, &indices, sizeof q);
  pack_halves(q, kElems, qs);
}

[[gnu::always_inline]] inline void pack_iq4(const Numbers& x, float inv, uint8_t* qs) {
  pack(nearest_indices(kIq4Rise, times(x, inv)), qs);
}

// x ~ d * a value of kIq4Values. The number farthest from 0 lands near one end of the table, -127
// or 113; 5 steps of 4% around each.
[[gnu::always_inline]] inline float fit_iq4(const Numbers& x, const Numbers& w) {
  const float extreme = extreme_of(x);
  float best_d = 0;
  float best_error = std::numeric_limits<float>::infinity();
  for (const float bound : {-127.0f, 113.0f}) {
    for (int step = -2; step <= 2; ++step) {
      const float inv = inverse(extreme / (bound * (1 + 0.04f * float(step))));
      const Numbers values = nearest_values(kIq4Rise, times(x, inv));
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

void encode_block(const float* x, const float* weights, EncodePath path, BlockIQ4_NL& block) {
  on_best_isa(
      path, [&]() __attribute__((always_inline)) {
        const Numbers numbers = load(x);
        block.d = stored_scale(fit_iq4(numbers, load(weights_or_ones(weights))));
        pack_iq4(numbers, inverse(f16_to_f32(block.d)), block.qs);
      });
}

// ---- IQ4_XS: 8 of these with scales of 6 bits under one d; fitted as Q3_K is (encode_k.cpp)

namespace {

constexpr int kSubs = 8;
constexpr int kScaleMin = -32, kScaleMax = 31;
constexpr int kRefits = 2;

struct XsInput {
  Numbers x[kSubs], w[kSubs];
  float ideal[kSubs];  // scales of the sub-blocks alone
};

struct XsFit {
  uint16_t d = 0;
  int scale[kSubs] = {};
  float error = std::numeric_limits<float>::infinity();
};

// Chooses every sub-block's scale under fit.d; returns the d that would suit those choices best.
[[gnu::always_inline]] inline float choose_scales(const XsInput& in, XsFit& fit) {
  const float d = f16_to_f32(fit.d);
  float numerator = 0, denominator = 0;
  fit.error = 0;
  for (int i = 0; i < kSubs; ++i) {
    const int near = int(
        std::clamp(std::nearbyint(in.ideal[i] * inverse(d)), float(kScaleMin), float(kScaleMax)));
    float best_error = std::numeric_limits<float>::infinity();
    Moments best;
    for (int s = std::max(kScaleMin, near - 1); s <= std::min(kScaleMax, near + 1); ++s) {
      const float step = d * float(s);
      const Numbers values = nearest_values(kIq4Rise, times(in.x[i], inverse(step)));
      const float error = weighted_error(in.x[i], in.w[i], values, step);
      if (error >= best_error) continue;
      best_error = error;
      fit.scale[i] = s;
      best = moments(in.x[i], in.w[i], values);
    }
    fit.error += best_error;
    numerator += float(fit.scale[i]) * best.xq;
    denominator += float(fit.scale[i]) * float(fit.scale[i]) * best.qq;
  }
  return numerator * inverse(denominator);
}

[[gnu::always_inline]] inline XsFit fit_xs(const float* x, const float* w, XsInput& in) {
  float extreme = 0;  // the scale farthest from 0 becomes kScaleMin, which is one step more
  for (int i = 0; i < kSubs; ++i) {
    in.x[i] = load(x + i * kElems);
    in.w[i] = load(w + i * kElems);
    in.ideal[i] = fit_iq4(in.x[i], in.w[i]);
    if (std::fabs(in.ideal[i]) > std::fabs(extreme)) extreme = in.ideal[i];
  }
  XsFit best, fit;
  fit.d = stored_scale_outward(extreme / float(kScaleMin));
  for (int round = 0; round <= kRefits; ++round) {
    const float again = choose_scales(in, fit);
    if (fit.error < best.error) best = fit;
    fit.d = stored_scale(again);
  }
  return best;
}

}  // namespace

void encode_block(const float* x, const float* weights, EncodePath path, BlockIQ4_XS& block) {
  const float* w = weights_or_ones(weights);
  XsFit best;
  on_best_isa(
      path, [&]() __attribute__((always_inline)) {
        XsInput in;
        best = fit_xs(x, w, in);
        for (int i = 0; i < kSubs; ++i) {
          pack_iq4(in.x[i], inverse(f16_to_f32(best.d) * float(best.scale[i])), block.qs + 16 * i);
        }
      });
  block.d = best.d;
  block.scales_h = 0;
  std::fill_n(block.scales_l, 4, uint8_t(0));
  for (int i = 0; i < kSubs; ++i) {
    const int scale = best.scale[i] + 32;
    block.scales_l[i / 2] |= uint8_t((scale & 15) << (i % 2 * 4));
    block.scales_h = uint16_t(block.scales_h | (scale >> 4) << (2 * i));
  }
}

// ---- MXFP4: the scale is a power of 2

namespace {

constexpr int kMagnitudes = 8;  // the table's others are their negatives
constexpr Rise<kMagnitudes> kMxfp4Rise(kMxfp4DoubledValues);

[[gnu::always_inline]] inline Numbers magnitudes(const Numbers& x) {
  Numbers to;
  for (int i = 0; i < kVectors; ++i) to.v[i] = at_least(x.v[i], -x.v[i]);
  return to;
}

[[gnu::always_inline]] inline Numbers mxfp4_values(const Numbers& x) {
  Numbers values = nearest_values(kMxfp4Rise, magnitudes(x));
  for (int i = 0; i < kVectors; ++i) {
    values.v[i] = x.v[i] < splat(0) ? -values.v[i] : values.v[i];
  }
  return values;
}

// Zeros have no sign.
[[gnu::always_inline]] inline void pack_mxfp4(const Numbers& x, uint8_t* qs) {
  Indices indices = nearest_indices(kMxfp4Rise, magnitudes(x));
  for (int i = 0; i < kVectors; ++i) {
    indices.v[i] += (x.v[i] < splat(0)) & (indices.v[i] > 0) & kMagnitudes;
  }
  pack(indices, qs);
}

constexpr int kMxfp4Bias = 127;

// The scale's exponent, with its bias: the least at which nothing is cut, or one of the two below.
[[gnu::always_inline]] inline int fit_mxfp4(const Numbers& x, const Numbers& w, float extreme) {
  constexpr int kMostExponent = 254;  // 255 is NaN in the specification
  constexpr float kLargest = 6;
  const int widest = int(std::max(std::ceil(std::log2(extreme / kLargest)), float(-kMxfp4Bias)));
  float best_error = std::numeric_limits<float>::infinity();
  int best = 0;
  for (int exponent = widest; exponent > widest - 3; --exponent) {
    const int e = std::clamp(exponent + kMxfp4Bias, 0, kMostExponent);
    const float half_scale = std::ldexp(0.5f, e - kMxfp4Bias);
    const Numbers values = mxfp4_values(times(x, inverse(half_scale)));
    const float error = weighted_error(x, w, values, half_scale);
    if (!(error < best_error)) continue;
    best_error = error;
    best = e;
  }
  return best;
}

}  // namespace

void encode_block(const float* x, const float* weights, EncodePath path, BlockMXFP4& block) {
  block = {};
  on_best_isa(
      path, [&]() __attribute__((always_inline)) {
        const Numbers numbers = load(x);
        const float extreme = std::fabs(extreme_of(numbers));
        if (!(extreme > 0) || !std::isfinite(extreme)) return;
        const int e = fit_mxfp4(numbers, load(weights_or_ones(weights)), extreme);
        block.e = uint8_t(e);
        pack_mxfp4(times(numbers, inverse(std::ldexp(0.5f, e - kMxfp4Bias))), block.qs);
      });
}

}  // namespace lm
