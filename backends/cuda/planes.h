// backends/cuda/planes.h — how a matrix lies in device memory: not as in the file, but cut into
// planes (codes, further bits of the codes, scales) in the order in which the lanes of a tensor
// core's A operand want them, so that every load is 16 bytes a lane and 512 a warp.
//
// A matrix [m, k] is tiles of 16 rows by chunks of 128 columns (4 groups of 32); rows and columns
// are padded with zeros to whole tiles and chunks. Lane 4g + t of a warp works on rows g and g + 8
// of a tile. Per tile and chunk, in bytes:
//   codes of 4 bits  2 x 32 lanes x 16: half h is row g + 8h; word j of a lane is group j; byte i
//   of
//                    a word holds element 4t + i in its low, element 16 + 4t + i in its high bits
//   codes of 8 bits  4 groups x 32 lanes x 16: the words of mma_s8's a0..a3 (see ptx.cuh)
// Tiles lie one after the other, in a tile chunk after chunk.
#pragma once
#include <cstdint>

namespace lm::cuda {

inline constexpr int kTileRows = 16;
inline constexpr int kGroup = 32;          // columns that share a scale
inline constexpr int kChunkColumns = 128;  // 16 bytes a lane of 4-bit codes
inline constexpr int kLayoutPlanes = 1;    // Tensor::layout

inline int64_t tiles_of(int64_t m) {
  return (m + kTileRows - 1) / kTileRows;
}
inline int64_t chunks_of(int64_t k) {
  return (k + kChunkColumns - 1) / kChunkColumns;
}

}  // namespace lm::cuda
