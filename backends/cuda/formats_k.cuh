// backends/cuda/formats_k.cuh — K-quants: records of 256 columns whose scales are small integers
// times the record's own scale d (and minima times dmin). See formats.cuh.
#pragma once
#include "backends/cuda/formats.cuh"

namespace lm::cuda {

// Scales and minima of the four groups of a chunk, one a byte, for rows g and g + 8.
struct PackedFactors {
  float d[2], dmin[2];
  uint32_t scales[2], minima[2];
};

// The 16 bytes of a row: d, dmin, and 8 scales and 8 minima of 6 bits. Those of groups 0..3 are the
// low 6 bits of words 0 and 1; groups 4..7 have 4 bits in word 2 and their upper 2 on top of words
// 0 and 1.
__device__ inline PackedFactors unpack_factors(const uint4 (&headers)[2], int second) {
  PackedFactors f;
  for (int h = 0; h < 2; ++h) {
    const uint4& u = headers[h];
    f.d[h] = half_at(u.x, 0);
    f.dmin[h] = -half_at(u.x, 1);
    const uint32_t top_scales = (u.w & 0x0F0F0F0Fu) | (u.y >> 2 & 0x30303030u);
    const uint32_t top_minima = (u.w >> 4 & 0x0F0F0F0Fu) | (u.z >> 2 & 0x30303030u);
    f.scales[h] = second != 0 ? top_scales : u.y & 0x3F3F3F3Fu;
    f.minima[h] = second != 0 ? top_minima : u.z & 0x3F3F3F3Fu;
  }
  return f;
}

struct FormatQ4_K : FormatBase {
  static constexpr DType kType = DType::q4_K;
  static constexpr bool kMinimum = true;
  struct Chunk {
    Nibbles codes;
    uint4 headers[2];
  };
  using Factors = PackedFactors;
  __device__ static void load_headers(const uint8_t* plane, int lane, uint4 (&headers)[2]) {
    headers[0] = load_plane<uint4>(plane + lane / 4 * 32);
    headers[1] = load_plane<uint4>(plane + lane / 4 * 32 + 16);
  }
  __device__ static void load(const uint8_t* record, int second, int lane, Chunk& c) {
    c.codes.load(record + second * 1024, lane);
    load_headers(record + plane_record(kType).scales, lane, c.headers);
  }
  __device__ static void fragment(const Chunk& c, int j, uint32_t (&a)[4]) {
    c.codes.unsigned_fragment(j, a);
  }
  __device__ static Factors factors(const Chunk& c, int second) {
    return unpack_factors(c.headers, second);
  }
  __device__ static float scale(const Factors& f, int h, int j) {
    return f.d[h] * float(byte_at(f.scales[h], j));
  }
  __device__ static float minimum(const Factors& f, int h, int j) {
    return f.dmin[h] * float(byte_at(f.minima[h], j));
  }
};

struct FormatQ5_K : FormatBase {
  static constexpr DType kType = DType::q5_K;
  static constexpr bool kHeavy = true;
  static constexpr bool kMinimum = true;
  struct Chunk {
    Nibbles codes;
    uint2 fifth;
    uint4 headers[2];
  };
  using Factors = PackedFactors;
  __device__ static void load(const uint8_t* record, int second, int lane, Chunk& c) {
    c.codes.load(record + second * 1024, lane);
    c.fifth = load_plane<uint2>(record + 2048 + second * 256 + lane * 8);
    FormatQ4_K::load_headers(record + plane_record(kType).scales, lane, c.headers);
  }
  __device__ static void fragment(const Chunk& c, int j, uint32_t (&a)[4]) {
    five_bit_fragment(c.codes, c.fifth, j, a);
  }
  __device__ static Factors factors(const Chunk& c, int second) {
    return unpack_factors(c.headers, second);
  }
  __device__ static float scale(const Factors& f, int h, int j) {
    return FormatQ4_K::scale(f, h, j);
  }
  __device__ static float minimum(const Factors& f, int h, int j) {
    return FormatQ4_K::minimum(f, h, j);
  }
};

// Signed scales, one a byte for 16 columns, and d, for rows g and g + 8.
struct ByteScales {
  uint4 scales;
  uint32_t d;
  __device__ void load(const uint8_t* plane, int second, int lane) {
    scales = load_plane<uint4>(plane + second * 128 + lane / 4 * 16);
    d = load_plane<uint32_t>(plane + 256 + lane / 4 * 4);
  }
};

struct FormatQ6_K : FormatBase {
  static constexpr DType kType = DType::q6_K;
  static constexpr bool kHalves = true;
  static constexpr float kUnit = 1.0f / 4;
  struct Chunk {
    Nibbles codes;
    uint4 upper;
    ByteScales scales;
  };
  using Factors = ByteScales;
  __device__ static void load(const uint8_t* record, int second, int lane, Chunk& c) {
    c.codes.load(record + second * 1024, lane);
    c.upper = load_codes(record + 2048 + second * 512 + lane * 16);
    c.scales.load(record + plane_record(kType).scales, second, lane);
  }
  __device__ static void fragment(const Chunk& c, int j, uint32_t (&a)[4]) {
    for (int h = 0; h < 2; ++h) {
      const uint32_t w = word_of(c.codes.row[h], j);
      a[h] = (w << 2 & 0x3C3C3C3Cu) | two_bits(c.upper, h, j, 0, 6);
      a[2 + h] = (w >> 2 & 0x3C3C3C3Cu) | two_bits(c.upper, h, j, 1, 6);
    }
  }
  __device__ static Factors factors(const Chunk& c, int) { return c.scales; }
  __device__ static float scale(const Factors& f, int h, int) { return half_at(f.d, h); }
  __device__ static int part_scale(const Factors& f, int h, int j, int p) {
    return signed_byte_at(word_of(f.scales, 2 * h + j / 2), 2 * (j % 2) + p);
  }
};

struct FormatQ3_K : FormatBase {
  static constexpr DType kType = DType::q3_K;
  static constexpr bool kHalves = true;
  static constexpr float kUnit = 1.0f / 32;
  struct Chunk {
    uint4 lower;
    uint2 third;
    ByteScales scales;
  };
  using Factors = ByteScales;
  __device__ static void load(const uint8_t* record, int second, int lane, Chunk& c) {
    c.lower = load_codes(record + second * 512 + lane * 16);
    c.third = load_plane<uint2>(record + 1024 + second * 256 + lane * 8);
    c.scales.load(record + plane_record(kType).scales, second, lane);
  }
  __device__ static void fragment(const Chunk& c, int j, uint32_t (&a)[4]) {
    for (int h = 0; h < 2; ++h) {
      const uint32_t high = word_of(c.third, h);
      a[h] = two_bits(c.lower, h, j, 0, 5) | one_bit(high, j, 0, 7);
      a[2 + h] = two_bits(c.lower, h, j, 1, 5) | one_bit(high, j, 1, 7);
    }
  }
  __device__ static Factors factors(const Chunk& c, int) { return c.scales; }
  __device__ static float scale(const Factors& f, int h, int) { return half_at(f.d, h); }
  __device__ static int part_scale(const Factors& f, int h, int j, int p) {
    return FormatQ6_K::part_scale(f, h, j, p);
  }
};

struct FormatQ2_K : FormatBase {
  static constexpr DType kType = DType::q2_K;
  static constexpr bool kHeavy = true;
  static constexpr bool kHalves = true, kMinimum = true;
  struct Chunk {
    uint4 codes;
    uint2 scales[2];  // of this chunk: a byte for 16 columns
    uint2 d;          // (d, dmin) of rows g and g + 8
  };
  struct Factors {
    uint2 scales[2];
    uint2 d;
  };
  __device__ static void load(const uint8_t* record, int second, int lane, Chunk& c) {
    c.codes = load_codes(record + second * 512 + lane * 16);
    const uint8_t* plane = record + plane_record(kType).scales;
    for (int h = 0; h < 2; ++h) {
      c.scales[h] = load_plane<uint2>(plane + lane / 4 * 32 + h * 16 + second * 8);
    }
    c.d = load_plane<uint2>(plane + 256 + lane / 4 * 8);
  }
  __device__ static void fragment(const Chunk& c, int j, uint32_t (&a)[4]) {
    for (int h = 0; h < 2; ++h) {
      a[h] = two_bits(c.codes, h, j, 0, 0);
      a[2 + h] = two_bits(c.codes, h, j, 1, 0);
    }
  }
  __device__ static Factors factors(const Chunk& c, int) {
    return {{c.scales[0], c.scales[1]}, c.d};
  }
  __device__ static float scale(const Factors& f, int h, int) {
    return half_at(word_of(f.d, h), 0);
  }
  __device__ static int part_scale(const Factors& f, int h, int j, int p) {
    return byte_at(word_of(f.scales[h], j / 2), 2 * (j % 2) + p) & 15;
  }
  __device__ static float minimum(const Factors& f, int h, int) {
    return -half_at(word_of(f.d, h), 1);
  }
  __device__ static int part_minimum(const Factors& f, int h, int j, int p) {
    return byte_at(word_of(f.scales[h], j / 2), 2 * (j % 2) + p) >> 4;
  }
};

}  // namespace lm::cuda
