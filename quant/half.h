// quant/half.h — IEEE binary16 and bfloat16 as bits, converted with round to nearest even.
#pragma once
#include <bit>
#include <cstdint>

namespace lm {

// Exact. Subnormals, infinities and NaN included.
float f16_to_f32(uint16_t h);
// Round to nearest even; overflow becomes infinity; NaN stays NaN (quiet).
uint16_t f32_to_f16(float x);

inline float bf16_to_f32(uint16_t h) { return std::bit_cast<float>(uint32_t(h) << 16); }
// Round to nearest even; NaN stays NaN (quiet).
uint16_t f32_to_bf16(float x);

}  // namespace lm
