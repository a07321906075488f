// quant/encode_lanes.h — search over scales: start from several plausible ones, round the numbers
// to the grid, solve for the scale that suits those roundings best, round again, keep the best.
// (Alternating minimisation, as in Lloyd's algorithm: each half-step can only lower the error.)
// Eight searches at a time: each lane of a vector has a group of numbers, or a starting point, of
// its own, so that no sum depends on how long the processor's vectors are. Inside the room only.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#include "quant/encode_fit.h"

namespace lm {

constexpr int kLanes = 8;
using Lanes [[gnu::vector_size(kLanes * 4)]] = float;

// Runs `work` (an always_inline lambda) as compiled for the best instruction set there is.
#if defined(__x86_64__)
template <class Work>
[[gnu::target("avx2")]] void with_avx2(const Work& work) {
  work();
}
#endif
template <class Work>
void on_best_isa(EncodePath path, const Work& work) {
#if defined(__x86_64__)
  if (path == EncodePath::best && __builtin_cpu_supports("avx2")) return with_avx2(work);
#endif
  static_cast<void>(path);
  work();
}

[[gnu::always_inline]] inline Lanes splat(float v) {
  return Lanes{v, v, v, v, v, v, v, v};
}
[[gnu::always_inline]] inline Lanes lanes_of(const float (&v)[kLanes]) {
  return Lanes{v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]};
}
[[gnu::always_inline]] inline Lanes at_least(Lanes v, Lanes least) {
  return v > least ? v : least;  // NaN too
}
[[gnu::always_inline]] inline Lanes at_most(Lanes v, Lanes most) {
  return v < most ? v : most;
}

// The whole number nearest to v, of two the even one; |v| < 2^22.
[[gnu::always_inline]] inline Lanes nearest(Lanes v) {
  const Lanes shift = splat(12582912.0f);  // 1.5 * 2^23: floats from there on are whole
  return (v + shift) - shift;
}
// The whole number of [lo, hi] nearest to v.
[[gnu::always_inline]] inline Lanes nearest_within(Lanes v, float lo, float hi) {
  return nearest(at_most(at_least(v, splat(lo)), splat(hi)));
}

// 1 / d, or 0 where that is not a finite number.
[[gnu::always_inline]] inline Lanes inverse_lanes(Lanes d) {
  const Lanes most = splat(std::numeric_limits<float>::max());
  const Lanes inv = 1.0f / d;
  const Lanes finite_above = inv <= most ? inv : splat(0);
  return finite_above >= -most ? finite_above : splat(0);
}

// Of all lanes, in their order.
[[gnu::always_inline]] inline float sum_of(const Lanes& lanes) {
  float sum = 0;
  for (int k = 0; k < kLanes; ++k) sum += lanes[k];
  return sum;
}

// A group of n numbers and their weights in each lane.
template <int n>
struct LaneGroups {
  Lanes x[n];
  Lanes w[n];
};

// Groups first .. first + 7 of n.
template <int n>
[[gnu::always_inline]] inline void load_groups(const float* x, const float* w, int first,
                                               LaneGroups<n>& to) {
  for (int j = 0; j < n; ++j) {
    for (int k = 0; k < kLanes; ++k) {
      to.x[j][k] = x[(first + k) * n + j];
      to.w[j][k] = w[(first + k) * n + j];
    }
  }
}

// The same group in every lane.
template <int n>
[[gnu::always_inline]] inline void load_copies(const float* x, const float* w, LaneGroups<n>& to) {
  for (int j = 0; j < n; ++j) {
    to.x[j] = splat(x[j]);
    to.w[j] = splat(w[j]);
  }
}

struct LaneFit {
  Lanes d = splat(0);
  Lanes m = splat(0);
  Lanes error = splat(std::numeric_limits<float>::infinity());
};

[[gnu::always_inline]] inline void keep_better(Lanes d, Lanes m, Lanes error, LaneFit& best) {
  best.d = error < best.error ? d : best.d;
  best.m = error < best.error ? m : best.m;
  best.error = error < best.error ? error : best.error;
}

// ---- x ~ d * q

// Starting points for fit_scale: how far the outermost number lies beyond the last step, as a
// fraction of the range. Below 0 the grid is wider than the numbers, above 0 outliers are cut.
// Twice as many points lower the RMSE (Gaussian, Laplace, uniform and real weights) by 0.0 .. 0.9%.
inline constexpr float kOvershoots[] = {-0.06f, 0.0f, 0.06f, 0.12f, 0.2f, 0.3f};
inline constexpr int kScaleRounds = 2;  // 4: 0.0 .. 0.6% less RMSE

// Rounds to the grid of spacing 1 / inv and solves for d, in turn; keeps the best in `best`.
template <int n>
[[gnu::always_inline]] inline void improve_scale(const LaneGroups<n>& g, int lo, int hi, Lanes inv,
                                                 LaneFit& best) {
  Lanes q[n];
  for (int round = 0; round < kScaleRounds; ++round) {
    Lanes qq = splat(0), xq = splat(0), error = splat(0);
    for (int j = 0; j < n; ++j) {
      q[j] = nearest_within(g.x[j] * inv, float(lo), float(hi));
      const Lanes wq = g.w[j] * q[j];
      qq += wq * q[j];
      xq += wq * g.x[j];
    }
    const Lanes d = xq * inverse_lanes(qq);
    for (int j = 0; j < n; ++j) {
      const Lanes rest = g.x[j] - d * q[j];
      error += g.w[j] * rest * rest;
    }
    keep_better(d, splat(0), error, best);
    inv = inverse_lanes(d);
  }
}

// The number farthest from 0, with its sign.
template <int n>
[[gnu::always_inline]] inline Lanes extreme_of(const LaneGroups<n>& g) {
  Lanes low = splat(0), high = splat(0);
  for (int j = 0; j < n; ++j) {
    low = at_most(low, g.x[j]);
    high = at_least(high, g.x[j]);
  }
  return high >= -low ? high : low;
}

// d in [lo, hi] steps, as fit_scale() finds it, of every lane's group.
template <int n>
[[gnu::always_inline]] inline LaneFit fit_scales(const LaneGroups<n>& g, int lo, int hi) {
  const Lanes inv = inverse_lanes(extreme_of(g));
  LaneFit best;
  for (const int bound : {lo, hi}) {  // the end of the grid at which the extreme number lands
    for (const float overshoot : kOvershoots) {
      improve_scale(g, lo, hi, float(bound) * (1 + overshoot) * inv, best);
    }
  }
  return best;
}

// ---- x ~ d * q + m

// Starting points for fit_scale_min: the share of the range that is cut off at each end (below 0:
// the grid goes on). Shifts that keep the width matter as much as the width: only one end at a time
// or both alike gives 2% more RMSE at 5 bits.
struct Cut {
  float low;
  float high;
};
inline constexpr Cut kCuts[] = {{0, 0},          {-0.03f, -0.03f}, {0.05f, 0.05f}, {0.1f, 0.1f},
                                {0.05f, 0},      {0, 0.05f},       {0.12f, 0},     {0, 0.12f},
                                {0.02f, -0.02f}, {-0.02f, 0.02f}};
inline constexpr int kMinRounds = 4;  // 2: 0.5 .. 2% more RMSE

// Sums over a group that do not depend on q.
struct LaneSums {
  Lanes w = splat(0);
  Lanes x = splat(0);  // of w * x
};
template <int n>
[[gnu::always_inline]] inline LaneSums sums_of(const LaneGroups<n>& g) {
  LaneSums sums;
  for (int j = 0; j < n; ++j) {
    sums.w += g.w[j];
    sums.x += g.w[j] * g.x[j];
  }
  return sums;
}

// The best d and m <= most_m for given q.
[[gnu::always_inline]] inline void solve(const LaneSums& s, Lanes q, Lanes qq, Lanes xq,
                                         float most_m, Lanes& d, Lanes& m) {
  const Lanes determinant = s.w * qq - q * q;
  const Lanes free_d = (s.w * xq - q * s.x) / determinant;
  const Lanes free_m = (s.x - free_d * q) / s.w;
  const Lanes alone_m = s.x / s.w;
  const auto solvable = determinant > 1e-6f * s.w * qq;  // else all q are (nearly) the same
  const auto take_free = solvable & (free_m <= splat(most_m));
  const auto take_alone = ~solvable & (alone_m <= splat(most_m));
  d = take_free ? free_d : take_alone ? splat(0) : xq * inverse_lanes(qq);
  m = take_free ? free_m : take_alone ? alone_m : splat(0);
}

// As improve_scale, with a minimum; `d` and `m` are where it starts.
template <int n>
[[gnu::always_inline]] inline void improve_scale_min(const LaneGroups<n>& g, const LaneSums& sums,
                                                     int hi, float most_m, Lanes d, Lanes m,
                                                     LaneFit& best) {
  Lanes q[n];
  for (int round = 0; round < kMinRounds; ++round) {
    const Lanes inv = inverse_lanes(d);
    const Lanes offset = -m * inv;
    Lanes sq = splat(0), qq = splat(0), xq = splat(0), error = splat(0);
    for (int j = 0; j < n; ++j) {
      q[j] = nearest_within(g.x[j] * inv + offset, 0, float(hi));
      const Lanes wq = g.w[j] * q[j];
      sq += wq;
      qq += wq * q[j];
      xq += wq * g.x[j];
    }
    solve(sums, sq, qq, xq, most_m, d, m);
    for (int j = 0; j < n; ++j) {
      const Lanes rest = g.x[j] - (d * q[j] + m);
      error += g.w[j] * rest * rest;
    }
    keep_better(d, m, d < splat(0) ? splat(std::numeric_limits<float>::infinity()) : error, best);
  }
}

struct LaneRange {
  Lanes low;
  Lanes high;
};
template <int n>
[[gnu::always_inline]] inline LaneRange range_of(const LaneGroups<n>& g, float most_m) {
  LaneRange range{g.x[0], g.x[0]};
  for (int j = 1; j < n; ++j) {
    range.low = at_most(range.low, g.x[j]);
    range.high = at_least(range.high, g.x[j]);
  }
  range.low = at_most(range.low, splat(most_m));
  return range;
}

// improve_scale_min from the range without the shares of it that `cut` holds.
template <int n>
[[gnu::always_inline]] inline void improve_from_cut(const LaneGroups<n>& g, const LaneSums& sums,
                                                    const LaneRange& range, const LaneRange& cut,
                                                    int hi, float most_m, LaneFit& best) {
  const Lanes width = range.high - range.low;
  const Lanes d = width * (1.0f - cut.low - cut.high) / float(hi);
  const Lanes m = at_most(range.low + width * cut.low, splat(most_m));
  improve_scale_min(g, sums, hi, most_m, d, m, best);
}

// d and m, as fit_scale_min() finds them, of every lane's group.
template <int n>
[[gnu::always_inline]] inline LaneFit fit_scale_mins(const LaneGroups<n>& g, int hi, float most_m) {
  const LaneSums sums = sums_of(g);
  const LaneRange range = range_of(g, most_m);
  LaneFit best;
  best.m = range.low;
  for (const Cut& cut : kCuts) {
    improve_from_cut(g, sums, range, {splat(cut.low), splat(cut.high)}, hi, most_m, best);
  }
  return best;
}

}  // namespace lm
