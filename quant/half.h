// quant/half.h — IEEE binary16 and bfloat16 as bits, converted with round to nearest even.
// No operand or result is subnormal in f32, so flush-to-zero modes change nothing. Inline
// functions: not for files compiled for one instruction set.
#pragma once
#include <bit>
#include <cstdint>

namespace lm {

// Exact. Subnormals, infinities and NaN (payload kept) included. Free of branches.
constexpr float f16_to_f32(uint16_t h) {
  const uint32_t sign = uint32_t(h & 0x8000u) << 16;
  const uint32_t magnitude = uint32_t(h & 0x7fffu) << 13;  // exponent and mantissa in f32's places
  // Exponents are biased by 15 here and by 127 in f32; inf and NaN move on to f32's last exponent.
  const uint32_t last_exponent = magnitude >= (31u << 23) ? (255u - 143u) << 23 : 0u;
  const uint32_t normal = magnitude + ((127u - 15u) << 23) + last_exponent;
  // Subnormal: m * 2^-24 = (2^-14 + m * 2^-24) - 2^-14, both terms normal in f32.
  constexpr uint32_t kTwoToMinus14 = 113u << 23;
  const float subnormal =
      std::bit_cast<float>(magnitude + kTwoToMinus14) - std::bit_cast<float>(kTwoToMinus14);
  const uint32_t is_subnormal = magnitude < (1u << 23) ? ~0u : 0u;
  const uint32_t value =
      (std::bit_cast<uint32_t>(subnormal) & is_subnormal) | (normal & ~is_subnormal);
  return std::bit_cast<float>(value | sign);
}

// Round to nearest, ties to even, in integers; overflow becomes infinity; NaN stays NaN (quiet).
constexpr uint16_t f32_to_f16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint16_t sign = uint16_t((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {  // NaN: keep what fits of the payload, set the quiet bit
    return uint16_t(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  }
  if (magnitude >= 0x477ff000u) return uint16_t(sign | 0x7c00u);  // >= 65520 rounds to infinity
  if (magnitude >= (113u << 23)) {                                // normal in f16: >= 2^-14
    const uint32_t odd = (magnitude >> 13) & 1u;
    return uint16_t(sign | ((magnitude - (112u << 23) + 0xfffu + odd) >> 13));
  }
  if (magnitude < (102u << 23)) return sign;  // < 2^-25 rounds to zero
  // Subnormal, in units of 2^-24: shift the full mantissa right and round what falls off.
  const uint32_t shift = 126u - (magnitude >> 23);  // 14 .. 24
  const uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
  const uint32_t kept = mantissa >> shift;
  const uint32_t rest = mantissa & ((1u << shift) - 1u);
  const uint32_t half = 1u << (shift - 1u);
  const bool up = rest > half || (rest == half && (kept & 1u) != 0);
  return uint16_t(sign | (kept + (up ? 1u : 0u)));
}

constexpr float bf16_to_f32(uint16_t h) {
  return std::bit_cast<float>(uint32_t(h) << 16);
}

// Round to nearest even; overflow becomes infinity; NaN stays NaN (quiet).
constexpr uint16_t f32_to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t((bits >> 16) | 0x40u);
  return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace lm
