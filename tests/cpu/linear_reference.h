// tests/cpu/linear_reference.h — what a matrix product is in double precision, with the size of its
// terms, which bounds are multiples of; for the linear tests of every backend.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace lm::test {

struct LinearShape {
  int64_t n, m, k;
};

// x as the integer kernels see it: groups of 32, d = max|x| / 127, rounded half to even.
inline std::vector<double> rounded_activations(const std::vector<float>& x) {
  std::vector<double> rounded(x.size());
  for (size_t b = 0; b < x.size(); b += 32) {
    float largest = 0;
    for (size_t i = 0; i < 32; ++i) largest = std::max(largest, std::abs(x[b + i]));
    const float d = largest / 127.0f, factor = largest > 0 ? 127.0f / largest : 0.0f;
    for (size_t i = 0; i < 32; ++i) rounded[b + i] = double(d) * std::nearbyint(x[b + i] * factor);
  }
  return rounded;
}

// out[n][m] = x Wᵀ; magnitude = Σ |x| (|w| + largest) with `largest` of the row of W when the
// kernel splits w into scale · q and a minimum, else 0.
struct LinearReference {
  std::vector<double> out, magnitude;
};
inline LinearReference linear_reference(const std::vector<double>& x, const std::vector<float>& w,
                                        LinearShape s, bool split) {
  LinearReference e{std::vector<double>(size_t(s.n * s.m)), std::vector<double>(size_t(s.n * s.m))};
  for (int64_t j = 0; j < s.m; ++j) {
    const float* row = w.data() + j * s.k;
    double largest = 0;
    for (int64_t i = 0; split && i < s.k; ++i) {
      largest = std::max(largest, std::abs(double(row[i])));
    }
    for (int64_t c = 0; c < s.n; ++c) {
      double sum = 0, size = 0;
      for (int64_t i = 0; i < s.k; ++i) {
        const double xi = x[size_t(c * s.k + i)];
        sum += xi * double(row[i]);
        size += std::abs(xi) * (std::abs(double(row[i])) + largest);
      }
      e.out[size_t(c * s.m + j)] = sum;
      e.magnitude[size_t(c * s.m + j)] = size;
    }
  }
  return e;
}

}  // namespace lm::test
