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

// A warp quantizes a chunk of a row: lane l has columns 4l .. 4l + 3, eight lanes a group.
__device__ inline void quantize_chunk(const float4& x, const QuantizedRows& rows, int row,
                                      int chunk, int lane) {
  constexpr uint32_t kAll = 0xFFFFFFFFu;
  const float values[4] = {x.x, x.y, x.z, x.w};
  // The maximum over the bits of |x|, where NaN is the largest: it spoils its row, visibly.
  int bits = 0;
  for (const float v : values) bits = max(bits, __float_as_int(v) & 0x7FFFFFFF);
  for (int d = 4; d > 0; d /= 2) bits = max(bits, __shfl_xor_sync(kAll, bits, d));
  const float amax = __int_as_float(bits);
  // Below 2^-120 the factor would overflow: such a group is zero.
  const float factor = amax > 0x1p-120f ? 127.0f / amax : 0.0f;
  uint32_t codes = 0;
  int sum = 0;
  for (int i = 0; i < 4; ++i) {
    // Adding 1.5 · 2^23 leaves the rounded integer in the low bits.
    const uint32_t rounded = __float_as_uint(values[i] * factor + 12582912.0f);
    codes |= (rounded & 255) << (8 * i);
    sum += int(rounded << 24) >> 24;
  }
  for (int d = 2; d > 0; d /= 2) sum += __shfl_xor_sync(kAll, sum, d);
  const int high = __shfl_xor_sync(kAll, sum, 4);  // of the group's first lane: sum is the low half
  const int j = lane / 8, part = lane % 8 / 4, t = lane % 4;
  const int64_t at = int64_t(row) * rows.n_chunks + chunk;
  uint8_t* to = rows.codes + at * kChunkColumns + j / 2 * 64 + t * 16 + j % 2 * 8 + part * 4;
  *reinterpret_cast<uint32_t*>(to) = codes;
  if (lane % 8 == 0) {
    const float scale = amax / 127.0f;
    rows.scales[at * 4 + j] = scale;
    rows.sums[at * 4 + j] = scale * float(sum + high);
    rows.high_sums[at * 4 + j] = scale * float(high);
  }
}

}  // namespace lm::cuda
