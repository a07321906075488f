// backends/cuda/half_tiles.cuh — where a piece of 8 numbers lies in tiles of f16 (half_tiles.h).
#pragma once
#include <cuda_fp16.h>

#include "backends/cuda/half_tiles.h"

namespace lm::cuda {

// In bytes from a tile's (or from stacked tiles') first row.
__device__ inline int swizzled(int row, int piece) {
  return row * (2 * kHalfTileColumns) + ((piece ^ (row & 7)) << 4);
}

__device__ inline uint4* piece_at(std::byte* tiles, int64_t n_chunks, int64_t row, int64_t piece) {
  const int64_t tile = row / kHalfTileRows * n_chunks + piece / kPieces;
  return reinterpret_cast<uint4*>(tiles + tile * kHalfTileBytes +
                                  swizzled(int(row % kHalfTileRows), int(piece % kPieces)));
}

__device__ inline uint32_t two_halves(float low, float high) {
  const __half2 halves = __floats2half2_rn(low, high);
  return uint32_t(__half_as_ushort(__low2half(halves))) |
         uint32_t(__half_as_ushort(__high2half(halves))) << 16;
}

__device__ inline uint4 eight_halves(const float (&x)[8]) {
  return {two_halves(x[0], x[1]), two_halves(x[2], x[3]), two_halves(x[4], x[5]),
          two_halves(x[6], x[7])};
}

}  // namespace lm::cuda
