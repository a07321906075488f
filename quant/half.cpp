// quant/half.cpp — f32 to binary16, in integers (IEEE 754-2008, round to nearest, ties to even).
#include "quant/half.h"

namespace lm {

uint16_t f32_to_f16(float x) {
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

}  // namespace lm
