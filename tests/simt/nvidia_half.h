// tests/simt/nvidia_half.h — NVIDIA's own halves on the host, where a CUDA toolkit is installed.
#pragma once
#include <cstdint>

namespace simt::nvidia {

bool is_there();
float half_to_float(uint16_t bits);
float bfloat_to_float(uint16_t bits);
uint16_t float_to_half(float x);
uint16_t float_to_bfloat(float x);
uint16_t add(uint16_t a, uint16_t b);
uint16_t subtract(uint16_t a, uint16_t b);
uint16_t multiply(uint16_t a, uint16_t b);

}  // namespace simt::nvidia
