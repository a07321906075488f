// backends/cuda/quantized_rows.cuh — activations as the integer kernels read them: per 32 columns
// x ≈ scale · q, scale = max|x| / 127, in the order of mma_s8's B operand, so that a lane loads 16
// bytes. The same integers as the CPU's (backends/cpu/isa/quantize.inl).
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "backends/cuda/planes.h"

namespace lm::cuda {

// n rows of n_chunks · 128 columns (zeros behind the last one).
// codes [n][n_chunks][128]: lane 4g + t reads 16 bytes at 64 (j / 2) + 16 t for groups j and j + 1,
// 8 bytes each: elements 4t + i, then 16 + 4t + i of the group.
// scales, sums, high_sums [n][4 n_chunks]: scale, scale · Σ q, and scale · Σ of the last 16 q.
struct QuantizedRows {
  uint8_t* codes = nullptr;
  float* scales = nullptr;
  float* sums = nullptr;
  float* high_sums = nullptr;
  int n = 0, n_chunks = 0;
};

constexpr int64_t quantized_rows_bytes(int64_t n, int64_t k) {
  return n * chunks_of(k) * (kChunkColumns + 3 * 4 * int64_t(sizeof(float)));
}

inline QuantizedRows quantized_rows(std::byte* memory, int64_t n, int64_t k) {
  const int64_t n_chunks = chunks_of(k), n_scales = n * n_chunks * 4;
  QuantizedRows rows;
  rows.codes = reinterpret_cast<uint8_t*>(memory);
  rows.scales = reinterpret_cast<float*>(memory + n * n_chunks * kChunkColumns);
  rows.sums = rows.scales + n_scales;
  rows.high_sums = rows.sums + n_scales;
  rows.n = int(n);
  rows.n_chunks = int(n_chunks);
  return rows;
}

// Where number e of group j of a chunk lies among its codes.
__device__ inline int code_offset(int j, int e) {
  return j / 2 * 64 + e % 16 / 4 * 16 + j % 2 * 8 + e / 16 * 4 + e % 4;
}

// A warp quantizes group `group` of row `row`: lane e has number e of it.
__device__ inline void quantize_group(float x, const QuantizedRows& rows, int row, int group,
                                      int lane) {
  // The maximum over the bits of |x|, where NaN is the largest: it spoils its row, visibly.
  int bits = __float_as_int(x) & 0x7FFFFFFF;
  for (int d = 16; d > 0; d /= 2) bits = max(bits, __shfl_xor_sync(0xFFFFFFFFu, bits, d));
  const float amax = __int_as_float(bits);
  // Below 2^-120 the factor would overflow: such a group is zero.
  const float factor = amax > 0x1p-120f ? 127.0f / amax : 0.0f;
  // Adding 1.5 · 2^23 leaves the rounded integer in the low bits.
  const float shifted = x * factor + 12582912.0f;
  const int q = __float_as_int(shifted) << 24 >> 24;
  int sum = q;
  for (int d = 8; d > 0; d /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, d);
  const int high = __shfl_sync(0xFFFFFFFFu, sum, 16), low = __shfl_sync(0xFFFFFFFFu, sum, 0);
  const float scale = amax / 127.0f;
  const int64_t chunk = int64_t(row) * rows.n_chunks + group / 4;
  rows.codes[chunk * kChunkColumns + code_offset(group % 4, lane)] = uint8_t(q);
  if (lane == 0) {
    const int64_t at = chunk * 4 + group % 4;
    rows.scales[at] = scale;
    rows.sums[at] = scale * float(low + high);
    rows.high_sums[at] = scale * float(high);
  }
}

}  // namespace lm::cuda
