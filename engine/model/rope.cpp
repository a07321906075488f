#include "engine/model/rope.h"

#include <algorithm>
#include <cmath>

#include "engine/core/check.h"

namespace lm {
namespace {

constexpr double kPi = 3.14159265358979323846;

// YaRN (arXiv:2309.00071, "NTK-by-parts") as its published code has it: frequencies that turn more
// than beta_fast times within the original context are kept, those that turn less than beta_slow
// times are divided by the factor, and a ramp over the pair's index joins the two.
struct YarnRamp {
  double low = 0, high = 1;  // pair indices
  double interpolated(int pair) const { return std::clamp((pair - low) / (high - low), 0.0, 1.0); }
};

YarnRamp yarn_ramp(const RopeSpec& spec) {
  // The (fractional) pair that makes `turns` full turns over the original context.
  const auto pair_of = [&](double turns) {
    return spec.dims * std::log(spec.n_ctx_original / (turns * 2 * kPi)) /
           (2 * std::log(double(spec.theta)));
  };
  YarnRamp ramp{pair_of(spec.yarn_beta_fast), pair_of(spec.yarn_beta_slow)};
  if (spec.yarn_truncate) ramp = {std::floor(ramp.low), std::ceil(ramp.high)};
  ramp.low = std::max(ramp.low, 0.0);
  ramp.high = std::min(ramp.high, double(spec.dims - 1));
  if (ramp.low == ramp.high) ramp.high += 0.001;
  return ramp;
}

double magnitude_of(const RopeSpec& spec) {
  using Scaling = RopeSpec::Scaling;
  const double given = spec.attn_factor != 0 ? double(spec.attn_factor) : 1.0;
  if (spec.scaling == Scaling::yarn)
    return given * (0.1 * std::log(std::max(1.0, double(spec.factor))) + 1);
  // LongRoPE, arXiv:2402.13753: the entropy of attention over the longer context.
  if (spec.scaling == Scaling::longrope && spec.attn_factor == 0 && spec.factor > 1) {
    return std::sqrt(1 + std::log(double(spec.factor)) / std::log(double(spec.n_ctx_original)));
  }
  return given;
}

}  // namespace

RopeTable make_rope_table(const RopeSpec& spec, std::span<const float> factors) {
  using Scaling = RopeSpec::Scaling;
  const int n = spec.dims / 2;
  LM_CHECK(n > 0 && (factors.empty() || factors.size() == size_t(n)));
  RopeTable table;
  table.magnitude = float(magnitude_of(spec));
  table.inv_freq.reserve(size_t(n));
  const YarnRamp ramp = spec.scaling == Scaling::yarn ? yarn_ramp(spec) : YarnRamp{};
  for (int i = 0; i < n; ++i) {
    double frequency = std::pow(double(spec.theta), -2.0 * i / spec.dims);
    if (!factors.empty()) frequency /= factors[size_t(i)];
    if (spec.scaling == Scaling::linear) frequency /= spec.factor;
    if (spec.scaling == Scaling::yarn) {
      const double mix = ramp.interpolated(i);
      frequency = frequency * (1 - mix) + frequency / spec.factor * mix;
    }
    table.inv_freq.push_back(float(frequency));
  }
  return table;
}

}  // namespace lm
