// quant/encode_fit.cpp — groups of 32 one by one. The searches are those of encode_lanes.h, with
// the starting points in the lanes.
#include "quant/encode_fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <limits>

#include "quant/encode_lanes.h"
#include "quant/half.h"

namespace lm {
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

void quantize(const float* x, float inv, float offset, int lo, int hi, float* q) {
  const float least = float(lo);
  const float most = float(hi);
  for (int j = 0; j < kGroup; ++j) {
    float v = x[j] * inv + offset;
    v = v > least ? v : least;  // NaN too
    v = v < most ? v : most;
    q[j] = std::nearbyint(v);
  }
}

namespace {

// Of all lanes.
ScaleMin best_of(const LaneFit& fit) {
  int best = 0;
  for (int k = 1; k < kLanes; ++k) best = fit.error[k] < fit.error[best] ? k : best;
  return {fit.d[best], fit.m[best]};
}

}  // namespace

// Both searches: a starting point in each lane.
float fit_scale(const float* x, const float* w, int lo, int hi, EncodePath path) {
  LaneFit best;
  on_best_isa(
      path, [&]() __attribute__((always_inline)) {
        LaneGroups<kGroup> g;
        load_copies(x, w, g);
        Lanes reach = splat(0);
        for (int k = 0; k < kLanes; ++k)
          reach[k] = 1 + kOvershoots[k % int(std::size(kOvershoots))];
        const Lanes inv = reach * inverse_lanes(extreme_of(g));
        for (const int bound : {lo, hi}) improve_scale(g, lo, hi, float(bound) * inv, best);
      });
  return best_of(best).d;
}

ScaleMin fit_scale_min(const float* x, const float* w, int hi, EncodePath path) {
  constexpr float kAnyMin = std::numeric_limits<float>::infinity();
  constexpr int kCount = int(std::size(kCuts));
  LaneFit best;
  on_best_isa(
      path, [&]() __attribute__((always_inline)) {
        LaneGroups<kGroup> g;
        load_copies(x, w, g);
        const LaneSums sums = sums_of(g);
        const LaneRange range = range_of(g, kAnyMin);
        best.m = range.low;
        for (int first = 0; first < kCount; first += kLanes) {
          float low[kLanes], high[kLanes];
          for (int k = 0; k < kLanes; ++k) {
            low[k] = kCuts[(first + k) % kCount].low;
            high[k] = kCuts[(first + k) % kCount].high;
          }
          const LaneRange cut{lanes_of(low), lanes_of(high)};
          improve_from_cut(g, sums, range, cut, hi, kAnyMin, best);
        }
      });
  return best_of(best);
}

}  // namespace lm
