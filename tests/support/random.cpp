#include <cmath>

#include "tests/support/support.h"

namespace lm::test {

uint64_t Random::next() {
  uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

uint64_t Random::below(uint64_t n) {
  return next() % n;
}

float Random::uniform(float lo, float hi) {
  const double unit = double(next() >> 40) * 0x1p-24;
  return float(lo + (double(hi) - lo) * unit);
}

float Random::normal() {
  const double u = (double(next() >> 11) + 0.5) * 0x1p-53;
  const double v = double(next() >> 11) * 0x1p-53;
  return float(std::sqrt(-2 * std::log(u)) * std::cos(2 * 3.14159265358979323846 * v));
}

}  // namespace lm::test
