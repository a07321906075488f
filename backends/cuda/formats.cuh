// backends/cuda/formats.cuh — how a lane reads each format's planes (planes.h): 16 rows of 128
// columns become A operands of mma_s8, with scales and minima for rows g and g + 8.
//
// A format offers
//   Chunk               what a lane loads for 128 columns, as it lies in memory
//   load(record, chunk, lane)
//   fragment(chunk, j, a)   the codes of group j; signed codes sit in the upper bits of their
//   bytes,
//                       which makes them 1 / kUnit times as large
//   Factors, factors(chunk, second)  its scales, unpacked; `second` of the two in a record of 256
//   scale(factors, h, j), minimum(factors, h, j)   of row g + 8h and group j
// and, where 16 columns share a scale (kHalves), part_scale and part_minimum: small integers.
#pragma once
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "backends/cuda/planes.h"
#include "backends/cuda/ptx.cuh"

namespace lm::cuda {

__device__ inline uint32_t word_of(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}
__device__ inline uint32_t word_of(const uint2& v, int i) {
  return i == 0 ? v.x : v.y;
}
__device__ inline float half_at(uint32_t pair, int i) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(pair >> (16 * i))));
}
__device__ inline int byte_at(uint32_t word, int i) {
  return int(word >> (8 * i) & 255);
}
__device__ inline int signed_byte_at(uint32_t word, int i) {
  return int(word << (24 - 8 * i)) >> 24;
}
// To the left, or by a negative number to the right.
__device__ inline uint32_t shifted(uint32_t word, int n) {
  return n >= 0 ? word << n : word >> -n;
}

// Codes are read once; scales, which lanes and chunks share, come through the cache.
template <class T>
__device__ inline T load_plane(const uint8_t* at) {
  return __ldg(reinterpret_cast<const T*>(at));
}
__device__ inline uint4 load_codes(const uint8_t* at) {
  return load_once(reinterpret_cast<const uint4*>(at));
}

// The 4-bit codes of rows g and g + 8.
struct Nibbles {
  uint4 row[2];
  __device__ void load(const uint8_t* plane, int lane) {
    row[0] = load_codes(plane + lane * 16);
    row[1] = load_codes(plane + 512 + lane * 16);
  }
  __device__ void unsigned_fragment(int j, uint32_t (&a)[4]) const {
    for (int h = 0; h < 2; ++h) {
      const uint32_t w = word_of(row[h], j);
      a[h] = w & 0x0F0F0F0Fu;
      a[2 + h] = w >> 4 & 0x0F0F0F0Fu;
    }
  }
  __device__ void signed_fragment(int j, uint32_t (&a)[4]) const {  // 16 times as large
    for (int h = 0; h < 2; ++h) {
      const uint32_t w = word_of(row[h], j);
      a[h] = w << 4 & 0xF0F0F0F0u;
      a[2 + h] = w & 0xF0F0F0F0u;
    }
  }
};

// Bit 2j + p of each byte, moved to bit `to`.
__device__ inline uint32_t one_bit(uint32_t plane, int j, int p, int to) {
  return shifted(plane, to - (2 * j + p)) & 0x01010101u << to;
}
// Bits 2(2(j % 2) + p) and the next of each byte of word j / 2, moved to bits `to` and the next.
__device__ inline uint32_t two_bits(const uint4& plane, int h, int j, int p, int to) {
  return shifted(word_of(plane, 2 * h + j / 2), to - 2 * (2 * (j % 2) + p)) & 0x03030303u << to;
}

// What most formats are not; they say only how they differ.
struct FormatBase {
  static constexpr bool kHalves = false, kMinimum = false;
  static constexpr bool kHeavy = false;  // unpacking takes many registers
  static constexpr float kUnit = 1;
};

struct FormatQ4_0 : FormatBase {
  static constexpr DType kType = DType::q4_0;
  static constexpr float kUnit = 1.0f / 16;
  struct Chunk {
    Nibbles codes;
    uint4 scales;  // halves for 4 groups of rows g and g + 8
  };
  using Factors = uint4;
  __device__ static void load(const uint8_t* record, int, int lane, Chunk& c) {
    c.codes.load(record, lane);
    c.scales = load_plane<uint4>(record + plane_record(kType).scales + lane / 4 * 16);
  }
  __device__ static void fragment(const Chunk& c, int j, uint32_t (&a)[4]) {
    c.codes.signed_fragment(j, a);
  }
  __device__ static Factors factors(const Chunk& c, int) { return c.scales; }
  __device__ static float scale(const Factors& f, int h, int j) {
    return half_at(word_of(f, 2 * h + j / 2), j % 2);
  }
};

// A pair (scale, minimum) of halves for each of 4 groups of two rows.
struct ScalePairs {
  uint4 row[2];
  __device__ void load(const uint8_t* plane, int lane) {
    row[0] = load_plane<uint4>(plane + lane / 4 * 32);
    row[1] = load_plane<uint4>(plane + lane / 4 * 32 + 16);
  }
};

struct FormatQ4_1 : FormatBase {
  static constexpr DType kType = DType::q4_1;
  static constexpr bool kMinimum = true;
  struct Chunk {
    Nibbles codes;
    ScalePairs scales;
  };
  using Factors = ScalePairs;
  __device__ static void load(const uint8_t* record, int, int lane, Chunk& c) {
    c.codes.load(record, lane);
    c.scales.load(record + plane_record(kType).scales, lane);
  }
  __device__ static void fragment(const Chunk& c, int j, uint32_t (&a)[4]) {
    c.codes.unsigned_fragment(j, a);
  }
  __device__ static Factors factors(const Chunk& c, int) { return c.scales; }
  __device__ static float scale(const Factors& f, int h, int j) {
    return half_at(word_of(f.row[h], j), 0);
  }
  __device__ static float minimum(const Factors& f, int h, int j) {
    return half_at(word_of(f.row[h], j), 1);
  }
};

struct FormatQ5_0 : FormatBase {
  static constexpr DType kType = DType::q5_0;
  static constexpr bool kHeavy = true;
  static constexpr float kUnit = 1.0f / 8;
  struct Chunk {
    Nibbles codes;
    uint2 fifth;
    uint4 scales;
  };
  using Factors = uint4;
  __device__ static void load(const uint8_t* record, int, int lane, Chunk& c) {
    c.codes.load(record, lane);
    c.fifth = load_plane<uint2>(record + 1024 + lane * 8);
    c.scales = load_plane<uint4>(record + plane_record(kType).scales + lane / 4 * 16);
  }
  __device__ static void fragment(const Chunk& c, int j, uint32_t (&a)[4]) {
    for (int h = 0; h < 2; ++h) {
      const uint32_t w = word_of(c.codes.row[h], j), high = word_of(c.fifth, h);
      a[h] = (w << 3 & 0x78787878u) | one_bit(high, j, 0, 7);
      a[2 + h] = (w >> 1 & 0x78787878u) | one_bit(high, j, 1, 7);
    }
  }
  __device__ static Factors factors(const Chunk& c, int) { return c.scales; }
  __device__ static float scale(const Factors& f, int h, int j) {
    return FormatQ4_0::scale(f, h, j);
  }
};

// Nibbles and a fifth bit, as numbers 0..31.
__device__ inline void five_bit_fragment(const Nibbles& codes, const uint2& fifth, int j,
                                         uint32_t (&a)[4]) {
  codes.unsigned_fragment(j, a);
  for (int h = 0; h < 2; ++h) {
    a[h] |= one_bit(word_of(fifth, h), j, 0, 4);
    a[2 + h] |= one_bit(word_of(fifth, h), j, 1, 4);
  }
}

struct FormatQ5_1 : FormatBase {
  static constexpr DType kType = DType::q5_1;
  static constexpr bool kHeavy = true;
  static constexpr bool kMinimum = true;
  struct Chunk {
    Nibbles codes;
    uint2 fifth;
    ScalePairs scales;
  };
  using Factors = ScalePairs;
  __device__ static void load(const uint8_t* record, int, int lane, Chunk& c) {
    c.codes.load(record, lane);
    c.fifth = load_plane<uint2>(record + 1024 + lane * 8);
    c.scales.load(record + plane_record(kType).scales, lane);
  }
  __device__ static void fragment(const Chunk& c, int j, uint32_t (&a)[4]) {
    five_bit_fragment(c.codes, c.fifth, j, a);
  }
  __device__ static Factors factors(const Chunk& c, int) { return c.scales; }
  __device__ static float scale(const Factors& f, int h, int j) {
    return FormatQ4_1::scale(f, h, j);
  }
  __device__ static float minimum(const Factors& f, int h, int j) {
    return FormatQ4_1::minimum(f, h, j);
  }
};

struct FormatQ8_0 : FormatBase {
  static constexpr DType kType = DType::q8_0;
  struct Chunk {
    uint4 codes[4];
    uint4 scales;
  };
  using Factors = uint4;
  __device__ static void load(const uint8_t* record, int, int lane, Chunk& c) {
    for (int j = 0; j < 4; ++j) c.codes[j] = load_codes(record + j * 512 + lane * 16);
    c.scales = load_plane<uint4>(record + plane_record(kType).scales + lane / 4 * 16);
  }
  __device__ static void fragment(const Chunk& c, int j, uint32_t (&a)[4]) {
    for (int i = 0; i < 4; ++i) a[i] = word_of(c.codes[j], i);
  }
  __device__ static Factors factors(const Chunk& c, int) { return c.scales; }
  __device__ static float scale(const Factors& f, int h, int j) {
    return FormatQ4_0::scale(f, h, j);
  }
};

// w = d (q - z): the zero point becomes the minimum -d z.
template <DType kDType, int kScales>
struct FormatI4g : FormatBase {
  static constexpr DType kType = kDType;
  static constexpr bool kMinimum = true;
  static constexpr int kShare = 4 / kScales;  // groups that share a scale
  struct Chunk {
    Nibbles codes;
    uint32_t scales[kScales];  // halves, those of row g first
    uint32_t zeros[2];         // bytes
  };
  using Factors = Chunk;
  __device__ static void load(const uint8_t* record, int, int lane, Chunk& c) {
    c.codes.load(record, lane);
    const uint8_t* scales = record + plane_record(kType).scales + lane / 4 * (4 * kScales);
    const uint8_t* zeros =
        record + plane_record(kType).scales + 32 * kScales + lane / 4 * (2 * kScales);
    for (int i = 0; i < kScales; ++i) c.scales[i] = load_plane<uint32_t>(scales + 4 * i);
    for (int h = 0; h < 2; ++h) {
      if constexpr (kScales == 4) c.zeros[h] = load_plane<uint32_t>(zeros + 4 * h);
      if constexpr (kScales == 2) c.zeros[h] = load_plane<uint16_t>(zeros + 2 * h);
      if constexpr (kScales == 1) c.zeros[h] = load_plane<uint8_t>(zeros + h);
    }
  }
  __device__ static void fragment(const Chunk& c, int j, uint32_t (&a)[4]) {
    c.codes.unsigned_fragment(j, a);
  }
  __device__ static Factors factors(const Chunk& c, int) { return c; }
  __device__ static float scale(const Factors& f, int h, int j) {
    const int i = h * kScales + j / kShare;
    return half_at(f.scales[i / 2], i % 2);
  }
  __device__ static float minimum(const Factors& f, int h, int j) {
    return scale(f, h, j) * float(-byte_at(f.zeros[h], j / kShare));
  }
};
using FormatI4g32 = FormatI4g<DType::i4g32, 4>;
using FormatI4g64 = FormatI4g<DType::i4g64, 2>;
using FormatI4g128 = FormatI4g<DType::i4g128, 1>;

}  // namespace lm::cuda
