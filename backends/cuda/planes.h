// backends/cuda/planes.h — how a matrix lies in device memory: not as in the file, but cut into
// planes (codes, further bits of the codes, scales) in the order in which the lanes of a tensor
// core's A operand want them, so that a load is 16 bytes a lane and 512 a warp.
//
// A matrix [m, k] is tiles of 16 rows, a tile is records of 128 columns (K-quants: 256), and a
// record is the planes below, one after the other. Rows and columns are padded to whole tiles and
// records with weights that are zero. Tiles lie one after the other, matrices of a stack too.
// Lane 4g + t of a warp works on rows g and g + 8 of a tile (half h is row g + 8h) and in each
// group of 32 columns on elements 4t + i (part 0) and 16 + 4t + i (part 1), i in 0..3.
//
// Planes of codes, for each 128 columns (group j in 0..3):
//   4 bits  [h][lane] 16 bytes: word j, byte i: part 0 in the low, part 1 in the high bits
//   8 bits  [j][lane] 16 bytes: word 2p + h, byte i: part p (the words a0..a3 of mma_s8)
//   1 bit   [lane][h] 4 bytes: byte i, bit 2j + p
//   2 bits  [lane][h] 8 bytes: word j / 2, byte i, bits 2(2(j % 2) + p) and the next
// Codes without a minimum are signed (two's complement, so that q - 8 of Q4_0 is q ^ 8 in 4 bits);
// those with one are q. Wider codes have their low 4 bits (Q3_K: 2) in the first plane.
// IQ4_NL, IQ4_XS and MXFP4 look their codes up: word j of their 4 bits holds element i of part p in
// bits 16p + 4i.
// Planes of scales hold rows in the order g, h: row g + 8h is entry 2g + h.
#pragma once
#include <cstdint>

#include "quant/dtype.h"

namespace lm::cuda {

inline constexpr int kTileRows = 16;
inline constexpr int kGroup = 32;          // columns that share a scale of the activations
inline constexpr int kChunkColumns = 128;  // 16 bytes a lane of 4-bit codes
inline constexpr int kLayoutPlanes = 1;    // Tensor::layout

// The record of a type. Offsets of its planes in bytes; -1: it has none. In the order of bits.
struct PlaneRecord {
  int columns = 0;  // 128 or 256; 0: the type has no planes and stays as in the file
  int bytes = 0;
  int scales = 0;  // offset of what follows the codes
};

// What follows the codes, by type (entries are rows, see above):
//   q4_0 q5_0 q8_0 iq4_NL   f16 [16 rows][4 groups]
//   q4_1 q5_1               f16 pairs (scale, minimum) [16][4 groups]
//   mxfp4                   E8M0 bytes [16][4 groups]
//   i4g32 i4g64 i4g128      f16 [16][4, 2 or 1 scales], then the zero points, a byte each
//   q4_K q5_K               the file's 16 bytes (d, dmin, packed scales and minima) [16]
//   q6_K q3_K               int8 [2 chunks][16][8 scales, one for 16 columns], then f16 d [16]
//   iq4_XS                  int8 [2 chunks][16][4 scales, one for 32 columns], then f16 d [16]
//   q2_K                    [16] 16 bytes (scale, minimum in 4 bits each), then (d, dmin) [16]
// Codes: 4 bits, then the fifth (1 bit) or fifth and sixth (2 bits) of q5_0 q5_1 q5_K and q6_K;
// q3_K: 2 bits, then 1; q2_K: 2 bits. In records of 256 columns each plane holds both chunks.
constexpr PlaneRecord plane_record(DType type) {
  constexpr int kBits1 = 256, kBits2 = 512, kBits4 = 1024, kBits8 = 2048;  // of 16 x 128 codes
  switch (type) {
    case DType::q4_0:
    case DType::iq4_NL:
      return {128, kBits4 + 128, kBits4};
    case DType::q4_1:
      return {128, kBits4 + 256, kBits4};
    case DType::q5_0:
      return {128, kBits4 + kBits1 + 128, kBits4 + kBits1};
    case DType::q5_1:
      return {128, kBits4 + kBits1 + 256, kBits4 + kBits1};
    case DType::q8_0:
      return {128, kBits8 + 128, kBits8};
    case DType::mxfp4:
      return {128, kBits4 + 64, kBits4};
    case DType::i4g32:
      return {128, kBits4 + 128 + 64, kBits4};
    case DType::i4g64:
      return {128, kBits4 + 64 + 32, kBits4};
    case DType::i4g128:
      return {128, kBits4 + 32 + 16, kBits4};
    case DType::q4_K:
      return {256, 2 * kBits4 + 256, 2 * kBits4};
    case DType::q5_K:
      return {256, 2 * (kBits4 + kBits1) + 256, 2 * (kBits4 + kBits1)};
    case DType::q6_K:
      return {256, 2 * (kBits4 + kBits2) + 256 + 32, 2 * (kBits4 + kBits2)};
    case DType::iq4_XS:
      return {256, 2 * kBits4 + 128 + 32, 2 * kBits4};
    case DType::q3_K:
      return {256, 2 * (kBits2 + kBits1) + 256 + 32, 2 * (kBits2 + kBits1)};
    case DType::q2_K:
      return {256, 2 * kBits2 + 256 + 64, 2 * kBits2};
    default:
      return {};
  }
}

constexpr bool has_planes(DType type) {
  return plane_record(type).columns > 0;
}
constexpr int64_t tiles_of(int64_t m) {
  return (m + kTileRows - 1) / kTileRows;
}
constexpr int64_t chunks_of(int64_t k) {
  return (k + kChunkColumns - 1) / kChunkColumns;
}
// Bytes of a tile of k columns, and of a matrix.
constexpr int64_t tile_bytes(DType type, int64_t k) {
  const PlaneRecord record = plane_record(type);
  return (k + record.columns - 1) / record.columns * record.bytes;
}
constexpr int64_t planes_bytes(DType type, int64_t m, int64_t k) {
  return tiles_of(m) * tile_bytes(type, k);
}

}  // namespace lm::cuda
