// tests/quant/half_test.cpp — conversions of halves against their definition in double precision.
#include "quant/half.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/support/support.h"

namespace lm {
namespace {

// The number that a binary16 stands for, from the definition in IEEE 754.
double value_of_f16(uint32_t h) {
  const int exponent = int(h >> 10 & 31);
  const double mantissa = double(h & 1023);
  const double sign = (h & 0x8000u) != 0 ? -1.0 : 1.0;
  if (exponent == 31) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity()
                         : std::numeric_limits<double>::quiet_NaN();
  }
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

// x rounded to nearest even on a grid of `digits` significant bits, whose spacing is never below
// 2^least and whose largest number is below 2^top.
double round_to_grid(double x, int digits, int least, int top) {
  if (x == 0 || !std::isfinite(x)) return x;
  const int spacing = std::max(std::ilogb(x) - (digits - 1), least);
  const double rounded = std::ldexp(std::nearbyint(std::ldexp(x, -spacing)), spacing);
  if (std::fabs(rounded) >= std::ldexp(1.0, top)) {
    return std::copysign(std::numeric_limits<double>::infinity(), x);
  }
  return rounded;
}

bool same(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) || (a == b && std::signbit(a) == std::signbit(b));
}

TEST_CASE("f16_to_f32: all 65536 halves") {
  int n_wrong = 0;
  for (uint32_t h = 0; h < 65536; ++h) {
    n_wrong += same(f16_to_f32(uint16_t(h)), value_of_f16(h)) ? 0 : 1;
  }
  CHECK(n_wrong == 0);
}

TEST_CASE("f32_to_f16: every half comes back, NaN as a quiet NaN") {
  int n_wrong = 0;
  for (uint32_t h = 0; h < 65536; ++h) {
    const bool nan = (h & 0x7fffu) > 0x7c00u;
    const uint32_t expected = nan ? h | 0x200u : h;
    n_wrong += f32_to_f16(f16_to_f32(uint16_t(h))) == expected ? 0 : 1;
  }
  CHECK(n_wrong == 0);
}

TEST_CASE("f32_to_f16: the midpoint of every two neighbours goes to the even one") {
  int n_wrong = 0;
  for (uint32_t h = 0; h < 0x7c00u; ++h) {
    // Beyond the largest half, 65536 takes infinity's place in the rounding.
    const double above = h == 0x7bffu ? 65536.0 : value_of_f16(h + 1);
    const float middle = float((value_of_f16(h) + above) / 2);
    const uint32_t even = h + (h & 1);
    n_wrong += f32_to_f16(middle) == even ? 0 : 1;
    n_wrong += f32_to_f16(-middle) == (even | 0x8000u) ? 0 : 1;
    n_wrong += f32_to_f16(std::nextafter(middle, 0.0f)) == h ? 0 : 1;
    n_wrong += f32_to_f16(std::nextafter(middle, 1e9f)) == h + 1 ? 0 : 1;
  }
  CHECK(n_wrong == 0);
}

TEST_CASE("f32_to_f16 and f32_to_bf16: random bits against rounding in double precision") {
  test::Random random(11);
  int n_wrong = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    const float x = std::bit_cast<float>(uint32_t(random.next()));
    n_wrong += same(value_of_f16(f32_to_f16(x)), round_to_grid(x, 11, -24, 16)) ? 0 : 1;
    n_wrong += same(bf16_to_f32(f32_to_bf16(x)), round_to_grid(x, 8, -133, 128)) ? 0 : 1;
    const float moderate = random.normal() * std::ldexp(1.0f, int(random.below(44)) - 28);
    n_wrong +=
        same(value_of_f16(f32_to_f16(moderate)), round_to_grid(moderate, 11, -24, 16)) ? 0 : 1;
  }
  CHECK(n_wrong == 0);
}

TEST_CASE("f32_to_bf16: NaN whose payload does not fit stays NaN; overflow is infinity") {
  CHECK(f32_to_bf16(std::bit_cast<float>(0x7f800001u)) == 0x7fc0u);
  CHECK(f32_to_bf16(std::bit_cast<float>(0xffffffffu)) == 0xffffu);
  CHECK(f32_to_bf16(std::numeric_limits<float>::max()) == 0x7f80u);
  CHECK(f32_to_bf16(-std::numeric_limits<float>::infinity()) == 0xff80u);
}

}  // namespace
}  // namespace lm
