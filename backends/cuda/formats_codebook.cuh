// backends/cuda/formats_codebook.cuh — formats whose 4-bit codes are places in a table of 16 signed
// numbers. See formats.cuh.
#pragma once
#include "backends/cuda/formats.cuh"
#include "quant/codebooks.h"

namespace lm::cuda {

// Four bytes of a table as the permutation instruction takes them.
constexpr uint32_t four_values(const int8_t (&table)[16], int first) {
  uint32_t word = 0;
  for (int i = 0; i < 4; ++i) word |= uint32_t(uint8_t(table[first + i])) << (8 * i);
  return word;
}

// Byte i of the result is table[nibble i of the low 16 bits]: one permutation looks up by the
// lower three bits in each half of the table, a third takes the half that the top bits name.
__device__ inline uint32_t look_up(const uint32_t (&table)[4], uint32_t nibbles) {
  const uint32_t places = nibbles & 0x7777u;
  const uint32_t low = __byte_perm(table[0], table[1], places);
  const uint32_t high = __byte_perm(table[2], table[3], places);
  return __byte_perm(low, high, 0x3210u | (nibbles & 0x8888u) >> 1);
}

__device__ inline void look_up_fragment(const uint32_t (&table)[4], const Nibbles& codes, int j,
                                        uint32_t (&a)[4]) {
  for (int h = 0; h < 2; ++h) {
    const uint32_t w = word_of(codes.row[h], j);
    a[h] = look_up(table, w);
    a[2 + h] = look_up(table, w >> 16);
  }
}

__device__ inline void iq4_fragment(const Nibbles& codes, int j, uint32_t (&a)[4]) {
  constexpr uint32_t kTable[4] = {four_values(kIq4Values, 0), four_values(kIq4Values, 4),
                                  four_values(kIq4Values, 8), four_values(kIq4Values, 12)};
  look_up_fragment(kTable, codes, j, a);
}

struct FormatIq4_NL : FormatBase {
  static constexpr DType kType = DType::iq4_NL;
  using Chunk = FormatQ4_0::Chunk;
  using Factors = uint4;
  __device__ static void load(const uint8_t* record, int second, int lane, Chunk& c) {
    FormatQ4_0::load(record, second, lane, c);
  }
  __device__ static void fragment(const Chunk& c, int j, uint32_t (&a)[4]) {
    iq4_fragment(c.codes, j, a);
  }
  __device__ static Factors factors(const Chunk& c, int) { return c.scales; }
  __device__ static float scale(const Factors& f, int h, int j) {
    return FormatQ4_0::scale(f, h, j);
  }
};

struct FormatIq4_XS : FormatBase {
  static constexpr DType kType = DType::iq4_XS;
  struct Factors {
    uint2 scales;  // bytes for 4 groups of rows g and g + 8
    uint32_t d;
  };
  struct Chunk {
    Nibbles codes;
    Factors scales;
  };
  __device__ static void load(const uint8_t* record, int second, int lane, Chunk& c) {
    c.codes.load(record + second * 1024, lane);
    const uint8_t* plane = record + plane_record(kType).scales;
    c.scales.scales = load_plane<uint2>(plane + second * 64 + lane / 4 * 8);
    c.scales.d = load_plane<uint32_t>(plane + 128 + lane / 4 * 4);
  }
  __device__ static void fragment(const Chunk& c, int j, uint32_t (&a)[4]) {
    iq4_fragment(c.codes, j, a);
  }
  __device__ static Factors factors(const Chunk& c, int) { return c.scales; }
  __device__ static float scale(const Factors& f, int h, int j) {
    return half_at(f.d, h) * float(signed_byte_at(word_of(f.scales, h), j));
  }
};

struct FormatMxfp4 : FormatBase {
  static constexpr DType kType = DType::mxfp4;
  struct Chunk {
    Nibbles codes;
    uint2 exponents;  // bytes for 4 groups of rows g and g + 8
  };
  using Factors = uint2;
  __device__ static void load(const uint8_t* record, int, int lane, Chunk& c) {
    c.codes.load(record, lane);
    c.exponents = load_plane<uint2>(record + plane_record(kType).scales + lane / 4 * 8);
  }
  __device__ static void fragment(const Chunk& c, int j, uint32_t (&a)[4]) {
    constexpr uint32_t kTable[4] = {
        four_values(kMxfp4DoubledValues, 0), four_values(kMxfp4DoubledValues, 4),
        four_values(kMxfp4DoubledValues, 8), four_values(kMxfp4DoubledValues, 12)};
    look_up_fragment(kTable, c.codes, j, a);
  }
  __device__ static Factors factors(const Chunk& c, int) { return c.exponents; }
  // 2^(e - 128), for the doubled values, as a product of two powers that are normal for every e.
  __device__ static float scale(const Factors& f, int h, int j) {
    const int e = byte_at(word_of(f, h), j), half = e >> 1;
    return __int_as_float((half + 63) << 23) * __int_as_float((e - half + 63) << 23);
  }
};

}  // namespace lm::cuda
