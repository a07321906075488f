// binary16 and bfloat16: every pattern, and every place where rounding turns, derived from the
// definition of the formats (IEEE 754-2019, 3.4) and from exact integers. NVIDIA's own headers,
// where they are installed, agree bit for bit.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>

#include "tests/simt/nvidia_half.h"
#include "tests/support/support.h"

// As REQUIRE, which takes its time to count what holds.
#define REQUIRE_QUICKLY(condition)      \
  do {                                  \
    if (!(condition)) FAIL(#condition); \
  } while (false)

namespace {

// The value of `bits` with a mantissa of `p` bits and an exponent biased by `bias`.
double value_of(uint32_t bits, int p, int bias) {
  const int exponent = int(bits & 0x7fffu) >> p, fraction = int(bits) & ((1 << p) - 1);
  const int last = 0x7fff >> p;
  const double sign = (bits & 0x8000u) != 0 ? -1 : 1;
  if (exponent == last) {
    return fraction != 0 ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  }
  const int leading = exponent == 0 ? 0 : 1 << p;
  return sign * std::ldexp(double(leading + fraction), (exponent == 0 ? 1 : exponent) - bias - p);
}

struct Format {
  int p, bias;
  float (*to_float)(uint16_t);
  uint16_t (*from_float)(float);
};
const Format kHalf = {10, 15, [](uint16_t b) { return __half2float(__ushort_as_half(b)); },
                      [](float x) { return __half_as_ushort(__float2half_rn(x)); }};
const Format kBfloat = {7, 127,
                        [](uint16_t b) { return __bfloat162float(__ushort_as_bfloat16(b)); },
                        [](float x) { return __bfloat16_as_ushort(__float2bfloat16_rn(x)); }};

// Every pattern there and back; between neighbours, the tie and the floats on both sides of it.
void check_format(const Format& format) {
  const uint16_t infinity = uint16_t((0x7fff >> format.p) << format.p);
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const double value = value_of(bits, format.p, format.bias);
    const float got = format.to_float(uint16_t(bits));
    if (std::isnan(value)) {
      REQUIRE_QUICKLY(std::isnan(got));
      REQUIRE_QUICKLY(format.from_float(got) == 0x7fff);
      continue;
    }
    REQUIRE_QUICKLY(double(got) == value);
    REQUIRE_QUICKLY(std::signbit(got) == ((bits & 0x8000u) != 0));
    REQUIRE_QUICKLY(format.from_float(got) == bits);
    if ((bits & 0x7fffu) >= infinity) continue;
    // The next pattern away from zero; behind the largest comes what would be 2^(last exponent).
    double next = value_of(bits + 1, format.p, format.bias);
    if (std::isinf(next)) next = value + (value - value_of(bits - 1, format.p, format.bias));
    const double middle = value + (next - value) / 2;
    const float tie = float(middle);
    REQUIRE_QUICKLY(double(tie) == middle);
    REQUIRE_QUICKLY(format.from_float(tie) == (bits % 2 == 0 ? bits : bits + 1));
    REQUIRE_QUICKLY(format.from_float(std::nextafterf(tie, 0.0f)) == bits);
    REQUIRE_QUICKLY(format.from_float(std::nextafterf(tie, tie > 0 ? HUGE_VALF : -HUGE_VALF)) ==
                    bits + 1);
  }
}

__extension__ using Integer = __int128;

// A finite half in units of 2^-24.
int64_t units(uint16_t bits) {
  return int64_t(std::ldexp(value_of(bits, 10, 15), 24));
}

// The half next to `exact` (in units of 2^-48), ties to even: by bisection over the patterns.
uint16_t round_exactly(Integer exact) {
  const bool negative = exact < 0;
  const Integer magnitude = negative ? -exact : exact;
  const auto in_units = [](uint32_t bits) {
    return bits == 0x7c00 ? Integer(65536) << 48 : Integer(units(uint16_t(bits))) << 24;
  };
  uint32_t low = 0, high = 0x7c00;  // the largest pattern that is not beyond
  if (magnitude >= in_units(high)) return uint16_t(0x7c00 | (negative ? 0x8000 : 0));
  while (high - low > 1) {
    const uint32_t middle = (low + high) / 2;
    (in_units(middle) <= magnitude ? low : high) = middle;
  }
  const Integer below = magnitude - in_units(low), above = in_units(high) - magnitude;
  const uint32_t nearest = below < above || (below == above && low % 2 == 0) ? low : high;
  return uint16_t(nearest | (negative ? 0x8000u : 0u));
}

uint16_t finite_half(lm::test::Random& random) {
  for (;;) {
    const auto bits = uint16_t(random.next());
    if ((bits & 0x7c00u) != 0x7c00u) return bits;
  }
}

// Zero has two signs, which integers do not know.
bool equal_but_for_zero(__half got, uint16_t wanted) {
  return got.bits == wanted || ((got.bits | wanted) & 0x7fffu) == 0;
}

}  // namespace

TEST_CASE("binary16: every pattern and every tie") {
  check_format(kHalf);
}

TEST_CASE("bfloat16: every pattern and every tie") {
  check_format(kBfloat);
}

TEST_CASE("arithmetic of halves rounds the exact result once") {
  lm::test::Random random(11);
  for (int i = 0; i < 200000; ++i) {
    const uint16_t a = finite_half(random), b = finite_half(random), c = finite_half(random);
    const __half x = __ushort_as_half(a), y = __ushort_as_half(b), z = __ushort_as_half(c);
    const Integer product = Integer(units(a)) * units(b);
    REQUIRE_QUICKLY(
        equal_but_for_zero(__hadd(x, y), round_exactly(Integer(units(a) + units(b)) << 24)));
    REQUIRE_QUICKLY(
        equal_but_for_zero(__hsub(x, y), round_exactly(Integer(units(a) - units(b)) << 24)));
    REQUIRE_QUICKLY(equal_but_for_zero(__hmul(x, y), round_exactly(product)));
    REQUIRE_QUICKLY(
        equal_but_for_zero(__hfma(x, y, z), round_exactly(product + (Integer(units(c)) << 24))));
  }
}

TEST_CASE("pairs of halves are two halves") {
  const __half2 a = __floats2half2_rn(1.5f, -2.0f), b = __float22half2_rn({3.0f, 0.25f});
  const float2 sum = __half22float2(__hadd2(a, b)), product = __half22float2(__hmul2(a, b));
  const float2 difference = __half22float2(__hsub2(a, b)), fused = __half22float2(__hfma2(a, b, a));
  CHECK((sum.x == 4.5f && sum.y == -1.75f));
  CHECK((product.x == 4.5f && product.y == -0.5f));
  CHECK((difference.x == -1.5f && difference.y == -2.25f));
  CHECK((fused.x == 6.0f && fused.y == -2.5f));
  CHECK(__low2float(a) == 1.5f);
  CHECK(__high2float(a) == -2.0f);
  CHECK(std::bit_cast<uint32_t>(a) == 0xc0003e00u);
  const __nv_bfloat162 v = __floats2bfloat162_rn(1.0f, -3.0f);
  CHECK(__low2float(v) == 1.0f);
  CHECK(__bfloat1622float2(v).y == -3.0f);
  CHECK(std::bit_cast<uint32_t>(v) == 0xc0403f80u);
}

TEST_CASE("NVIDIA's headers give the same bits") {
  if (!simt::nvidia::is_there()) LM_SKIP("no CUDA toolkit");
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto b = uint16_t(bits);
    REQUIRE_QUICKLY(std::bit_cast<uint32_t>(kHalf.to_float(b)) ==
                    std::bit_cast<uint32_t>(simt::nvidia::half_to_float(b)));
    REQUIRE_QUICKLY(std::bit_cast<uint32_t>(kBfloat.to_float(b)) ==
                    std::bit_cast<uint32_t>(simt::nvidia::bfloat_to_float(b)));
  }
  lm::test::Random random(5);
  for (int i = 0; i < 300000; ++i) {  // floats of every size, and those near binary16's range
    const auto bits = uint32_t(random.next());
    const uint32_t near = (bits & 0x807fffffu) | uint32_t(100 + random.below(46)) << 23;
    for (const float x : {std::bit_cast<float>(bits), std::bit_cast<float>(near)}) {
      REQUIRE_QUICKLY(kHalf.from_float(x) == simt::nvidia::float_to_half(x));
      REQUIRE_QUICKLY(kBfloat.from_float(x) == simt::nvidia::float_to_bfloat(x));
    }
  }
  for (int i = 0; i < 200000; ++i) {
    const auto a = uint16_t(random.next()), b = uint16_t(random.next());
    const __half x = __ushort_as_half(a), y = __ushort_as_half(b);
    REQUIRE_QUICKLY(__hadd(x, y).bits == simt::nvidia::add(a, b));
    REQUIRE_QUICKLY(__hsub(x, y).bits == simt::nvidia::subtract(a, b));
    REQUIRE_QUICKLY(__hmul(x, y).bits == simt::nvidia::multiply(a, b));
  }
}
