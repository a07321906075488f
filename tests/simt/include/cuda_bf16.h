// The emulation's <cuda_bf16.h>: conversions, rounded to nearest even; a NaN that is made has all
// bits set but the sign (0x7fff), as the device's has.
// Sources: CUDA Math API, "Bfloat16 Precision Conversion and Data Movement"; PTX ISA, cvt.
#pragma once
#include <cmath>

#include "quant/half.h"
#include "tests/simt/vectors.h"

struct __nv_bfloat16 {
  unsigned short bits;
};
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};

inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  return {bits};
}
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 b) {
  return b.bits;
}
inline float __bfloat162float(__nv_bfloat16 b) {
  return lm::bf16_to_f32(b.bits);
}
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
  return {std::isnan(x) ? static_cast<unsigned short>(0x7fff) : lm::f32_to_bf16(x)};
}
inline __nv_bfloat16 __float2bfloat16(float x) {
  return __float2bfloat16_rn(x);
}

inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) {
  return {x, y};
}
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 v) {
  return v.x;
}
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 v) {
  return v.y;
}
inline float __low2float(__nv_bfloat162 v) {
  return __bfloat162float(v.x);
}
inline float __high2float(__nv_bfloat162 v) {
  return __bfloat162float(v.y);
}
inline float2 __bfloat1622float2(__nv_bfloat162 v) {
  return {__low2float(v), __high2float(v)};
}
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}
inline __nv_bfloat162 __float22bfloat162_rn(float2 v) {
  return __floats2bfloat162_rn(v.x, v.y);
}
