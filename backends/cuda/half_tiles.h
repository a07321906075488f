// backends/cuda/half_tiles.h — matrices as the tensor cores of a GEMM read them: f16, in tiles of
// 64 rows and 64 columns. A tile is 64 rows of 128 bytes; the 16-byte piece c of row r lies at c ^
// (r % 8), so that eight rows of one piece touch all banks of shared memory: the 128-byte swizzle
// of wgmma (PTX ISA 9.0, "Shared Memory Matrix Layout"). A tile comes to shared memory as it is, in
// one piece. Tiles of 64 rows lie behind each other, in them chunk after chunk of columns.
#pragma once
#include <cstddef>
#include <cstdint>

#include "backends/cuda/context.h"
#include "backends/tensor.h"

namespace lm::cuda {

inline constexpr int kHalfTileRows = 64;
inline constexpr int kHalfTileColumns = 64;
inline constexpr int kHalfTileBytes = kHalfTileRows * kHalfTileColumns * 2;
inline constexpr int kPieces = kHalfTileColumns / 8;  // of 8 numbers, in a row of a tile

constexpr int64_t half_chunks(int64_t k) {
  return (k + kHalfTileColumns - 1) / kHalfTileColumns;
}
// Rows are a multiple of kHalfTileRows.
constexpr int64_t half_tiles_bytes(int64_t rows, int64_t k) {
  return rows / kHalfTileRows * half_chunks(k) * kHalfTileBytes;
}

// Weights are rounded to f16: one that is larger than 65504 becomes infinite, and what is below
// 2^-14 loses bits.

// x [n, k] as f16: each row times a power of two (exact) that brings its largest number to
// 2^14 .. 2^15, so that none overflows; unscale[row] takes it back.
void activations_to_half_tiles(const Context& context, Tensor x, std::byte* tiles, float* unscale);

// Rows [first, first + n) of a matrix, of the file's rows or of planes, as rows [at, at + n).
// `at` is a multiple of kHalfTileRows, `first` of kTileRows where the matrix is planes.
void weights_to_half_tiles(const Context& context, Tensor weight, int64_t first, int64_t n,
                           std::byte* tiles, int64_t at);

}  // namespace lm::cuda
