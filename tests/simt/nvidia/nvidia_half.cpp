// Built without the emulation's headers, against NVIDIA's.
#include "tests/simt/nvidia_half.h"

#if __has_include(<cuda_fp16.h>)
#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace simt::nvidia {

bool is_there() {
  return true;
}
float half_to_float(uint16_t bits) {
  return __half2float(__ushort_as_half(bits));
}
float bfloat_to_float(uint16_t bits) {
  return __bfloat162float(__ushort_as_bfloat16(bits));
}
uint16_t float_to_half(float x) {
  return __half_as_ushort(__float2half_rn(x));
}
uint16_t float_to_bfloat(float x) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(x));
}
uint16_t add(uint16_t a, uint16_t b) {
  return __half_as_ushort(__hadd(__ushort_as_half(a), __ushort_as_half(b)));
}
uint16_t subtract(uint16_t a, uint16_t b) {
  return __half_as_ushort(__hsub(__ushort_as_half(a), __ushort_as_half(b)));
}
uint16_t multiply(uint16_t a, uint16_t b) {
  return __half_as_ushort(__hmul(__ushort_as_half(a), __ushort_as_half(b)));
}

}  // namespace simt::nvidia

#else

namespace simt::nvidia {

bool is_there() {
  return false;
}
float half_to_float(uint16_t) {
  return 0;
}
float bfloat_to_float(uint16_t) {
  return 0;
}
uint16_t float_to_half(float) {
  return 0;
}
uint16_t float_to_bfloat(float) {
  return 0;
}
uint16_t add(uint16_t, uint16_t) {
  return 0;
}
uint16_t subtract(uint16_t, uint16_t) {
  return 0;
}
uint16_t multiply(uint16_t, uint16_t) {
  return 0;
}

}  // namespace simt::nvidia

#endif
