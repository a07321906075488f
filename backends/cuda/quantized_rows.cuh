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

__host__ __device__ inline QuantizedRows quantized_rows(std::byte* memory, int64_t n, int64_t k) {
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

// Four numbers of a row, at a column that is a multiple of 4; zeros behind its end.
__device__ inline float4 load_four(const float* row, int64_t column, int64_t k, bool aligned) {
  if (aligned && column + 4 <= k) return *reinterpret_cast<const float4*>(row + column);
  const auto at = [&](int i) { return column + i < k ? row[column + i] : 0.0f; };
  return {at(0), at(1), at(2), at(3)};
}

// Whether rows of x may be read 16 bytes at a time.
inline bool rows_aligned(const float* x, int64_t stride) {
  return reinterpret_cast<uintptr_t>(x) % 16 == 0 && stride % 4 == 0;
}

// Numbers of a lane's four columns as integers, and what they were found by.
struct QuantizedFour {
  float largest;   // |x| of the group
  uint32_t codes;  // a byte each
  int sum;         // of the codes
};

// By the largest |x| of the group, as bits.
__device__ inline QuantizedFour quantize_four(const float4& x, int largest) {
  const float values[4] = {x.x, x.y, x.z, x.w};
  const float amax = __int_as_float(largest);
  // Below 2^-120 the factor would overflow: such a group is zero.
  const float factor = amax > 0x1p-120f ? 127.0f / amax : 0.0f;
  QuantizedFour four = {amax, 0, 0};
  for (int i = 0; i < 4; ++i) {
    // Adding 1.5 · 2^23 leaves the rounded integer in the low bits.
    const uint32_t rounded = __float_as_uint(values[i] * factor + 12582912.0f);
    four.codes |= (rounded & 255) << (8 * i);
    four.sum += int(rounded << 24) >> 24;
  }
  return four;
}

// The chunk-th of a row; sum: of the half group that the lane is in; high: of the other half.
__device__ inline void store_four(const QuantizedFour& four, int high, const QuantizedRows& rows,
                                  int row, int chunk, int lane) {
  const int j = lane / 8, part = lane % 8 / 4, t = lane % 4;
  const int64_t at = int64_t(row) * rows.n_chunks + chunk;
  uint8_t* to = rows.codes + at * kChunkColumns + j / 2 * 64 + t * 16 + j % 2 * 8 + part * 4;
  *reinterpret_cast<uint32_t*>(to) = four.codes;
  if (lane % 8 == 0) {
    const float scale = four.largest / 127.0f;
    rows.scales[at * 4 + j] = scale;
    rows.sums[at * 4 + j] = scale * float(four.sum + high);
    rows.high_sums[at * 4 + j] = scale * float(high);
  }
}

// A warp quantizes chunks first, first + step, ... of a row, n of them or those that there are:
// lane l has columns 4l .. 4l + 3 of each, eight lanes a group. Step by step for all of them, so
// that none waits for another's shuffles.
template <int n>
__device__ inline void quantize_chunks(const float4 (&x)[n], const QuantizedRows& rows, int row,
                                       int first, int step, int lane) {
  constexpr uint32_t kAll = 0xFFFFFFFFu;
  int largest[n], high[n];
  QuantizedFour fours[n];
#pragma unroll
  for (int c = 0; c < n; ++c) {
    // The maximum over the bits of |x|, where NaN is the largest: it spoils its row, visibly.
    const float values[4] = {x[c].x, x[c].y, x[c].z, x[c].w};
    largest[c] = 0;
    for (const float v : values) largest[c] = max(largest[c], __float_as_int(v) & 0x7FFFFFFF);
  }
  for (int d = 4; d > 0; d /= 2) {
#pragma unroll
    for (int c = 0; c < n; ++c) largest[c] = max(largest[c], __shfl_xor_sync(kAll, largest[c], d));
  }
#pragma unroll
  for (int c = 0; c < n; ++c) fours[c] = quantize_four(x[c], largest[c]);
  for (int d = 2; d > 0; d /= 2) {
#pragma unroll
    for (int c = 0; c < n; ++c) fours[c].sum += __shfl_xor_sync(kAll, fours[c].sum, d);
  }
#pragma unroll
  for (int c = 0; c < n; ++c) high[c] = __shfl_xor_sync(kAll, fours[c].sum, 4);
#pragma unroll
  for (int c = 0; c < n; ++c) {
    if (first + c * step >= rows.n_chunks) break;
    store_four(fours[c], high[c], rows, row, first + c * step, lane);
  }
}

}  // namespace lm::cuda
