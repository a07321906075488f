// engine/sample/softmax.h — sums of exponentials over a vocabulary, in a fixed order and with an
// exponential of our own: the same bits on every machine, and fast enough for 128k logits.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace lm {

// e^x for x <= 0, with a relative error below 1e-6; 0 below -87.
// 2^n · 2^f with n = round(x log2 e) and Taylor's polynomial for 2^f on [-1/2, 1/2].
inline float exp_nonpositive(float x) {
  constexpr float kLog2E = 1.44269504f, kShift = 12582912.0f;  // 1.5 · 2^23: rounds to an integer
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  const bool underflows = !(x >= -87.0f);
  x = underflows ? 0.0f : x;
  const float shifted = x * kLog2E + kShift;
  const float n = shifted - kShift;
  const float r = x - n * kLn2High - n * kLn2Low;  // x - n ln 2, in [-0.35, 0.35]
  const float p =
      1 + r * (1 + r * (1.0f / 2 + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 + r / 720)))));
  int32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  const int32_t scale_bits = int32_t(uint32_t(bits) + (127u - 0x4B400000u)) << 23;
  float scale;
  std::memcpy(&scale, &scale_bits, sizeof scale);
  return underflows ? 0.0f : p * scale;
}

// The largest of x, not counting NaN; -inf when there is none.
float largest(std::span<const float> x);

// log Σ exp(x[i] - max) for max = largest(x), finite; -inf and NaN count as nothing.
float log_sum_exp_below(std::span<const float> x, float max);

}  // namespace lm
