// The emulation's <cuda_fp16.h>: binary16 with every result rounded once, to nearest even; a NaN
// that is made has all bits set but the sign (0x7fff), as the device's has.
// Sources: CUDA Math API, "Half Precision Intrinsics"; PTX ISA, cvt and fma.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

#include "quant/half.h"
#include "tests/simt/vectors.h"

struct __half {
  unsigned short bits;
};
struct alignas(4) __half2 {
  __half x, y;
};
using half = __half;
using half2 = __half2;

inline __half __ushort_as_half(unsigned short bits) {
  return {bits};
}
inline unsigned short __half_as_ushort(__half h) {
  return h.bits;
}
inline __half __short_as_half(short bits) {
  return {static_cast<unsigned short>(bits)};
}
inline short __half_as_short(__half h) {
  return short(h.bits);
}

inline float __half2float(__half h) {
  return (h.bits & 0x7fffu) > 0x7c00u ? std::bit_cast<float>(0x7fffffffu) : lm::f16_to_f32(h.bits);
}
inline __half __float2half_rn(float x) {
  return {std::isnan(x) ? static_cast<unsigned short>(0x7fff) : lm::f32_to_f16(x)};
}
inline __half __float2half(float x) {
  return __float2half_rn(x);
}

inline __half2 __halves2half2(__half x, __half y) {
  return {x, y};
}
inline __half2 __half2half2(__half x) {
  return {x, x};
}
inline __half __low2half(__half2 v) {
  return v.x;
}
inline __half __high2half(__half2 v) {
  return v.y;
}
inline float __low2float(__half2 v) {
  return __half2float(v.x);
}
inline float __high2float(__half2 v) {
  return __half2float(v.y);
}
inline __half2 __floats2half2_rn(float x, float y) {
  return {__float2half_rn(x), __float2half_rn(y)};
}
inline __half2 __float2half2_rn(float x) {
  return __floats2half2_rn(x, x);
}
inline __half2 __float22half2_rn(float2 v) {
  return __floats2half2_rn(v.x, v.y);
}
inline float2 __half22float2(__half2 v) {
  return {__half2float(v.x), __half2float(v.y)};
}

// A float holds 24 bits, at least twice binary16's 11 and 2 more: rounding a sum or a product to
// float first changes nothing. What double cannot hold of a·b + c is never next to a tie.
inline __half __hadd(__half a, __half b) {
  return __float2half_rn(__half2float(a) + __half2float(b));
}
inline __half __hsub(__half a, __half b) {
  return __float2half_rn(__half2float(a) - __half2float(b));
}
inline __half __hmul(__half a, __half b) {
  return __float2half_rn(__half2float(a) * __half2float(b));
}
inline __half __hfma(__half a, __half b, __half c) {
  const double exact = double(__half2float(a)) * double(__half2float(b)) + double(__half2float(c));
  // Rounded to odd on the way through float, so that no tie is made that was none (Boldo and
  // Melquiond, "Emulation of a FMA and Correctly Rounded Sums", 2008).
  float odd = float(exact);
  if (double(odd) != exact && !std::isnan(exact)) {
    uint32_t bits = std::bit_cast<uint32_t>(odd);
    if (std::fabs(double(odd)) > std::fabs(exact)) --bits;
    odd = std::bit_cast<float>(bits | 1u);
  }
  return __float2half_rn(odd);
}

inline __half2 __hadd2(__half2 a, __half2 b) {
  return {__hadd(a.x, b.x), __hadd(a.y, b.y)};
}
inline __half2 __hsub2(__half2 a, __half2 b) {
  return {__hsub(a.x, b.x), __hsub(a.y, b.y)};
}
inline __half2 __hmul2(__half2 a, __half2 b) {
  return {__hmul(a.x, b.x), __hmul(a.y, b.y)};
}
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
  return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}
