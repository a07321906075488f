// quant/encode_k.cpp — K-quants: super-blocks of 256 whose sub-blocks have quantized scales.
// Each sub-block is fitted alone; then the super-block's scale is chosen, each sub-block takes the
// whole-number scale (and minimum) that leaves the least error with it, and the super-block's scale
// is solved for again by least squares. Layouts in quant/blocks.h.
#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/encode_block.h"
#include "quant/encode_lanes.h"
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

// A super-block before it is packed. q holds whole numbers, a sub-block in each lane.
template <class Format>
struct MinBlock {
  static constexpr int kVectors = Format::kSubs / kLanes;
  Lanes scale[kVectors] = {};
  Lanes min[kVectors] = {};
  Lanes q[kVectors][Format::kSub] = {};
  float error = std::numeric_limits<float>::infinity();
  uint16_t d = 0;
  uint16_t dmin = 0;
};

// Tries scale and min around their ideal values for sub-blocks 8v .. 8v + 7 under the block's d and
// dmin, keeps the best, and returns its error.
template <class Format>
[[gnu::always_inline]] inline Lanes choose_sub_blocks(const LaneGroups<Format::kSub>& g,
                                                      const LaneFit& ideal, int v,
                                                      MinBlock<Format>& block) {
  constexpr float kMost = float(Format::kScaleMax);
  const float d = f16_to_f32(block.d);
  const float dmin = f16_to_f32(block.dmin);
  const Lanes scale0 = nearest_within(ideal.d * inverse(d), 0, kMost);
  const Lanes min0 = nearest_within(-ideal.m * inverse(dmin), 0, kMost);
  LaneFit best;  // of scale and min
  for (const float scale_step : {-1.0f, 0.0f, 1.0f}) {
    for (const float min_step : {-1.0f, 0.0f, 1.0f}) {
      const Lanes scale = nearest_within(scale0 + scale_step, 0, kMost);
      const Lanes min = nearest_within(min0 + min_step, 0, kMost);
      const Lanes step = d * scale;
      const Lanes m = dmin * min;
      const Lanes inv = inverse_lanes(step);
      const Lanes offset = m * inv;
      Lanes error = splat(0);
      for (int j = 0; j < Format::kSub; ++j) {
        const Lanes q = nearest_within(g.x[j] * inv + offset, 0, float(Format::kQMax));
        const Lanes rest = g.x[j] - (step * q - m);
        error += g.w[j] * rest * rest;
      }
      keep_better(scale, min, error, best);
    }
  }
  block.scale[v] = best.d;
  block.min[v] = best.m;
  const Lanes inv = inverse_lanes(d * best.d);
  const Lanes offset = dmin * best.m * inv;
  for (int j = 0; j < Format::kSub; ++j) {
    block.q[v][j] = nearest_within(g.x[j] * inv + offset, 0, float(Format::kQMax));
  }
  return best.error;
}

// Sums for the d and dmin that suit whole numbers best: least squares for x ~ d * a - dmin * b with
// a = scale * q and b = min.
struct RefitSums {
  Lanes aa = splat(0), ab = splat(0), bb = splat(0), xa = splat(0), xb = splat(0);
};

template <class Format>
[[gnu::always_inline]] inline void add_to(RefitSums& sums, const LaneGroups<Format::kSub>& g, int v,
                                          const MinBlock<Format>& block) {
  const LaneSums fixed = sums_of(g);
  Lanes sq = splat(0), qq = splat(0), xq = splat(0);
  for (int j = 0; j < Format::kSub; ++j) {
    const Lanes q = block.q[v][j];
    const Lanes wq = g.w[j] * q;
    sq += wq;
    qq += wq * q;
    xq += wq * g.x[j];
  }
  const Lanes scale = block.scale[v];
  const Lanes min = block.min[v];
  sums.aa += scale * scale * qq;
  sums.ab += scale * min * sq;
  sums.bb += min * min * fixed.w;
  sums.xa += scale * xq;
  sums.xb += min * fixed.x;
}

ScaleMin refit(const RefitSums& sums) {
  const float aa = sum_of(sums.aa), ab = sum_of(sums.ab), bb = sum_of(sums.bb);
  const float xa = sum_of(sums.xa), xb = sum_of(sums.xb);
  const float determinant = aa * bb - ab * ab;
  if (determinant > 1e-6f * aa * bb) {
    return {(xa * bb - xb * ab) / determinant, (xa * ab - xb * aa) / determinant};
  }
  return {xa * inverse(aa), bb > 0 && aa == 0 ? -xb / bb : 0};
}

template <class Format>
[[gnu::always_inline]] inline void search(const float* x, const float* w, MinBlock<Format>& best) {
  constexpr int kVectors = MinBlock<Format>::kVectors;
  LaneGroups<Format::kSub> groups[kVectors];
  LaneFit ideal[kVectors];
  float largest_scale = 0;
  float largest_min = 0;
  for (int v = 0; v < kVectors; ++v) {
    load_groups(x, w, v * kLanes, groups[v]);
    ideal[v] = fit_scale_mins(groups[v], Format::kQMax, 0);
    for (int k = 0; k < kLanes; ++k) {
      largest_scale = std::max(largest_scale, ideal[v].d[k]);
      largest_min = std::max(largest_min, -ideal[v].m[k]);
    }
  }
  MinBlock<Format> block;
  block.d = stored_scale_outward(largest_scale / float(Format::kScaleMax));
  block.dmin = stored_scale_outward(largest_min / float(Format::kScaleMax));
  for (int round = 0; round <= kRefits; ++round) {
    Lanes error = splat(0);
    RefitSums sums;
    for (int v = 0; v < kVectors; ++v) {
      error += choose_sub_blocks(groups[v], ideal[v], v, block);
      add_to(sums, groups[v], v, block);
    }
    block.error = sum_of(error);
    if (block.error < best.error) best = block;
    const ScaleMin again = refit(sums);
    block.d = stored_scale(std::max(again.d, 0.0f));
    block.dmin = stored_scale(std::max(again.m, 0.0f));
  }
}

template <class Format>
MinBlock<Format> fit_block(const float* x, const float* weights, EncodePath path) {
  const float* w = weights_or_ones(weights);
  MinBlock<Format> best;
  on_best_isa(
      path, [&]() __attribute__((always_inline)) { search(x, w, best); });
  return best;
}

// Whole numbers of sub-block i.
int lane(const Lanes* from, int i) {
  return int(from[i / kLanes][i % kLanes]);
}

// The 12 bytes of Q4_K and Q5_K; the inverse of scale_min in decode_k.cpp.
template <class Format>
void pack_scales(const MinBlock<Format>& from, uint8_t* scales) {
  for (int i = 0; i < 4; ++i) {
    const int scale = lane(from.scale, i), min = lane(from.min, i);
    const int scale4 = lane(from.scale, i + 4), min4 = lane(from.min, i + 4);
    scales[i] = uint8_t(scale | (scale4 >> 4) << 6);
    scales[i + 4] = uint8_t(min | (min4 >> 4) << 6);
    scales[i + 8] = uint8_t((scale4 & 15) | (min4 & 15) << 4);
  }
}

// q as integers in the order of the numbers, moved up by `offset`.
template <int kVectors, int kSub>
void to_integers(const Lanes (&from)[kVectors][kSub], int offset, int (&q)[kElems]) {
  for (int j = 0; j < kElems; ++j) {
    const int i = j / kSub;
    q[j] = int(from[i / kLanes][j % kSub][i % kLanes]) + offset;
  }
}

}  // namespace

void encode_block(const float* x, const float* w, EncodePath path, BlockQ2_K& block) {
  const auto fit = fit_block<Q2Format>(x, w, path);
  int q[kElems];
  to_integers(fit.q, 0, q);
  block.d = fit.d;
  block.dmin = fit.dmin;
  for (int i = 0; i < 16; ++i) {
    block.scales[i] = uint8_t(lane(fit.scale, i) | lane(fit.min, i) << 4);
  }
  set_codes(q, block);
}

void encode_block(const float* x, const float* w, EncodePath path, BlockQ4_K& block) {
  const auto fit = fit_block<Q4Format>(x, w, path);
  int q[kElems];
  to_integers(fit.q, 0, q);
  block.d = fit.d;
  block.dmin = fit.dmin;
  pack_scales(fit, block.scales);
  set_codes(q, block);
}

void encode_block(const float* x, const float* w, EncodePath path, BlockQ5_K& block) {
  const auto fit = fit_block<Q5Format>(x, w, path);
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

constexpr int kSignedVectors = kSignedSubs / kLanes;

struct SignedBlock {
  Lanes scale[kSignedVectors] = {};
  Lanes q[kSignedVectors][kSignedSub] = {};
  float error = std::numeric_limits<float>::infinity();
  uint16_t d = 0;
};

// As choose_sub_blocks above, for a scale alone.
template <class Format>
[[gnu::always_inline]] inline Lanes choose_scales(const LaneGroups<kSignedSub>& g,
                                                  const LaneFit& ideal, int v, SignedBlock& block) {
  constexpr float kLeast = float(Format::kScaleMin), kMost = float(Format::kScaleMax);
  const float d = f16_to_f32(block.d);
  const Lanes scale0 = nearest_within(ideal.d * inverse(d), kLeast, kMost);
  LaneFit best;  // of scale
  for (const float scale_step : {-1.0f, 0.0f, 1.0f}) {
    const Lanes scale = nearest_within(scale0 + scale_step, kLeast, kMost);
    const Lanes step = d * scale;
    const Lanes inv = inverse_lanes(step);
    Lanes error = splat(0);
    for (int j = 0; j < kSignedSub; ++j) {
      const Lanes q = nearest_within(g.x[j] * inv, float(Format::kQMin), float(Format::kQMax));
      const Lanes rest = g.x[j] - step * q;
      error += g.w[j] * rest * rest;
    }
    keep_better(scale, splat(0), error, best);
  }
  block.scale[v] = best.d;
  const Lanes inv = inverse_lanes(d * best.d);
  for (int j = 0; j < kSignedSub; ++j) {
    block.q[v][j] = nearest_within(g.x[j] * inv, float(Format::kQMin), float(Format::kQMax));
  }
  return best.error;
}

template <class Format>
[[gnu::always_inline]] inline void search_signed(const float* x, const float* w,
                                                 SignedBlock& best) {
  LaneGroups<kSignedSub> groups[kSignedVectors];
  LaneFit ideal[kSignedVectors];
  float extreme = 0;  // the scale farthest from 0 becomes kScaleMin, which is one step more
  for (int v = 0; v < kSignedVectors; ++v) {
    load_groups(x, w, v * kLanes, groups[v]);
    ideal[v] = fit_scales(groups[v], Format::kQMin, Format::kQMax);
    for (int k = 0; k < kLanes; ++k) {
      if (std::fabs(ideal[v].d[k]) > std::fabs(extreme)) extreme = ideal[v].d[k];
    }
  }
  SignedBlock block;
  block.d = stored_scale_outward(extreme / float(Format::kScaleMin));
  for (int round = 0; round <= kRefits; ++round) {
    Lanes error = splat(0), numerator = splat(0), denominator = splat(0);
    for (int v = 0; v < kSignedVectors; ++v) {
      error += choose_scales<Format>(groups[v], ideal[v], v, block);
      Lanes qq = splat(0), xq = splat(0);
      for (int j = 0; j < kSignedSub; ++j) {
        const Lanes wq = groups[v].w[j] * block.q[v][j];
        qq += wq * block.q[v][j];
        xq += wq * groups[v].x[j];
      }
      numerator += block.scale[v] * xq;
      denominator += block.scale[v] * block.scale[v] * qq;
    }
    block.error = sum_of(error);
    if (block.error < best.error) best = block;
    block.d = stored_scale(sum_of(numerator) * inverse(sum_of(denominator)));
  }
}

template <class Format>
SignedBlock fit_signed_block(const float* x, const float* weights, EncodePath path) {
  const float* w = weights_or_ones(weights);
  SignedBlock best;
  on_best_isa(
      path, [&]() __attribute__((always_inline)) { search_signed<Format>(x, w, best); });
  return best;
}

}  // namespace

void encode_block(const float* x, const float* w, EncodePath path, BlockQ3_K& block) {
  const SignedBlock fit = fit_signed_block<Q3Format>(x, w, path);
  int q[kElems];
  to_integers(fit.q, 4, q);
  block.d = fit.d;
  std::fill_n(block.scales, 12, uint8_t(0));
  for (int i = 0; i < 16; ++i) {
    const int scale = lane(fit.scale, i) + 32;
    block.scales[i % 8] |= uint8_t((scale & 15) << (i / 8 * 4));
    block.scales[8 + i % 4] |= uint8_t((scale >> 4) << (i / 4 * 2));
  }
  set_codes(q, block);
}

void encode_block(const float* x, const float* w, EncodePath path, BlockQ6_K& block) {
  const SignedBlock fit = fit_signed_block<Q6Format>(x, w, path);
  int q[kElems];
  to_integers(fit.q, 32, q);
  block.d = fit.d;
  for (int i = 0; i < 16; ++i) block.scales[i] = int8_t(lane(fit.scale, i));
  set_codes(q, block);
}

}  // namespace lm
