// quant/encode_fit.cpp — search over scales: start from several plausible ones, round the numbers
// to the grid, solve for the scale that suits those roundings best, round again, keep the best.
// (Alternating minimisation, as in Lloyd's algorithm: each half-step can only lower the error.)
#include "quant/encode_fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "quant/half.h"

namespace lm {
namespace {

// Sums run in kLanes partial sums, added at the end: a fixed order that compilers turn into
// vectors.
constexpr int kLanes = 8;

float add_lanes(const float (&lanes)[kLanes]) {
  float sum = 0;
  for (float lane : lanes) sum += lane;
  return sum;
}

// Starting points for fit_scale: how far the outermost number lies beyond the last step, as a
// fraction of the range. Below 0 the grid is wider than the numbers, above 0 outliers are cut.
// Twice as many points lower the RMSE (Gaussian, Laplace, uniform and real weights) by 0.0 .. 0.9%.
constexpr float kOvershoots[] = {-0.06f, 0.0f, 0.06f, 0.12f, 0.2f, 0.3f};
constexpr int kScaleRounds = 2;  // 4: 0.0 .. 0.6% less RMSE

// Starting points for fit_scale_min: the share of the range that is cut off at each end (below 0:
// the grid goes on). Shifts that keep the width matter as much as the width: only one end at a time
// or both alike gives 2% more RMSE at 5 bits.
struct Cut {
  float low;
  float high;
};
constexpr Cut kCuts[] = {{0, 0},          {-0.03f, -0.03f}, {0.05f, 0.05f}, {0.1f, 0.1f},
                         {0.05f, 0},      {0, 0.05f},       {0.12f, 0},     {0, 0.12f},
                         {0.02f, -0.02f}, {-0.02f, 0.02f}};
constexpr int kMinRounds = 4;  // 2: 0.5 .. 2% more RMSE

}  // namespace

uint16_t stored_scale(float d) {
  return f32_to_f16(std::clamp(d, -kMaxHalf, kMaxHalf));
}

uint16_t stored_scale_outward(float d) {
  const uint16_t half = stored_scale(d);
  const bool can_grow = (half & 0x7fffu) < 0x7bffu;
  return std::fabs(f16_to_f32(half)) < std::fabs(d) && can_grow ? uint16_t(half + 1) : half;
}

float inverse(float d) {
  const float inv = 1.0f / d;
  return std::isfinite(inv) ? inv : 0.0f;
}

const float* weights_or_ones(const float* w) {
  static constexpr std::array<float, 256> kOnes = [] {
    std::array<float, 256> ones{};
    for (float& one : ones) one = 1;
    return ones;
  }();
  return w != nullptr ? w : kOnes.data();
}

template <int n>
void quantize(const float* x, float inv, float offset, int lo, int hi, float* q) {
  const float least = float(lo);
  const float most = float(hi);
  for (int j = 0; j < n; ++j) {
    float v = x[j] * inv + offset;
    v = v > least ? v : least;  // NaN too
    v = v < most ? v : most;
    q[j] = std::nearbyint(v);
  }
}

template <int n>
float weighted_error(const float* x, const float* w, const float* q, float d, float m) {
  float lanes[kLanes] = {};
  for (int i = 0; i < n; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      const float rest = x[i + k] - (d * q[i + k] + m);
      lanes[k] += w[i + k] * rest * rest;
    }
  }
  return add_lanes(lanes);
}

template <int n>
Moments moments(const float* x, const float* w, const float* q) {
  float sw[kLanes] = {}, sq[kLanes] = {}, sqq[kLanes] = {}, sx[kLanes] = {}, sxq[kLanes] = {};
  for (int i = 0; i < n; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      const float wq = w[i + k] * q[i + k];
      sw[k] += w[i + k];
      sq[k] += wq;
      sqq[k] += wq * q[i + k];
      sx[k] += w[i + k] * x[i + k];
      sxq[k] += wq * x[i + k];
    }
  }
  return {add_lanes(sw), add_lanes(sq), add_lanes(sqq), add_lanes(sx), add_lanes(sxq)};
}

namespace {

struct ScaleFit {
  float d = 0;
  float error = std::numeric_limits<float>::infinity();
};

// Rounds to the grid of spacing 1 / inv and solves for d, in turn; keeps the best in `best`.
template <int n>
void improve_scale(const float* x, const float* w, int lo, int hi, float inv, ScaleFit& best) {
  float q[n];
  for (int round = 0; round < kScaleRounds; ++round) {
    quantize<n>(x, inv, 0, lo, hi, q);
    const Moments s = moments<n>(x, w, q);
    const float d = s.xq * inverse(s.qq);
    const float error = weighted_error<n>(x, w, q, d, 0);
    if (error < best.error) best = {d, error};
    inv = inverse(d);
  }
}

}  // namespace

template <int n>
float fit_scale(const float* x, const float* w, int lo, int hi) {
  float extreme = 0;
  for (int j = 0; j < n; ++j) {
    if (std::fabs(x[j]) > std::fabs(extreme)) extreme = x[j];
  }
  ScaleFit best;
  for (const int bound : {lo, hi}) {  // the end of the grid at which the extreme number lands
    for (const float overshoot : kOvershoots) {
      improve_scale<n>(x, w, lo, hi, float(bound) * (1 + overshoot) * inverse(extreme), best);
    }
  }
  return best.d;
}

namespace {

// The best (d, m) for given q.
ScaleMin solve(const Moments& s, bool m_not_positive) {
  const float determinant = s.w * s.qq - s.q * s.q;
  if (determinant > 1e-6f * s.w * s.qq) {  // else all q are (nearly) the same
    const float d = (s.w * s.xq - s.q * s.x) / determinant;
    const float m = (s.x - d * s.q) / s.w;
    if (!m_not_positive || m <= 0) return {d, m};
  } else if (!m_not_positive || s.x <= 0) {
    return {0, s.x / s.w};
  }
  return {s.xq * inverse(s.qq), 0};
}

}  // namespace

template <int n>
ScaleMin fit_scale_min(const float* x, const float* w, int hi, bool m_not_positive) {
  float low = *std::min_element(x, x + n);
  const float high = *std::max_element(x, x + n);
  if (m_not_positive) low = std::min(low, 0.0f);
  float q[n];
  ScaleMin best{0, low};
  float best_error = std::numeric_limits<float>::infinity();
  const float range = high - low;
  for (const Cut cut : kCuts) {
    ScaleMin at{range * (1 - cut.low - cut.high) / float(hi), low + range * cut.low};
    if (m_not_positive) at.m = std::min(at.m, 0.0f);
    for (int round = 0; round < kMinRounds; ++round) {
      const float inv = inverse(at.d);
      quantize<n>(x, inv, -at.m * inv, 0, hi, q);
      at = solve(moments<n>(x, w, q), m_not_positive);
      if (at.d < 0) break;
      const float error = weighted_error<n>(x, w, q, at.d, at.m);
      if (error < best_error) {
        best_error = error;
        best = at;
      }
    }
  }
  return best;
}

template void quantize<16>(const float*, float, float, int, int, float*);
template void quantize<32>(const float*, float, float, int, int, float*);
template float weighted_error<16>(const float*, const float*, const float*, float, float);
template float weighted_error<32>(const float*, const float*, const float*, float, float);
template Moments moments<16>(const float*, const float*, const float*);
template Moments moments<32>(const float*, const float*, const float*);
template float fit_scale<16>(const float*, const float*, int, int);
template float fit_scale<32>(const float*, const float*, int, int);
template ScaleMin fit_scale_min<16>(const float*, const float*, int, bool);
template ScaleMin fit_scale_min<32>(const float*, const float*, int, bool);

}  // namespace lm
