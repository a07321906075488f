// backends/cuda/matvec_block.cuh — what the kernels for few rows of x (matvec.cuh,
// matvec_halves.cu) share: which tiles and rows of x a block works on, and how its warps' sums, of
// a segment of the columns each, become numbers of the output.
#pragma once
#include "backends/cuda/activations.cuh"
#include "backends/cuda/matvec.h"
#include "backends/cuda/planes.h"
#include "backends/cuda/ptx.cuh"

namespace lm::cuda {

// Rows of x, and where they begin among the rows of out.
struct RowRange {
  int first, count, out;
};
__device__ inline RowRange rows_of_pass(const MatvecParams& p, int pass) {
  const int first = pass * kMostDecodeRows;
  return {first, min(p.x.n - first, kMostDecodeRows), first};
}

// Which expert this block works for, and on which rows; no rows: there is none.
__device__ inline RowRange rows_of_block(const MatvecParams& p, int& expert) {
  expert = 0;
  if (p.experts.n == 0) return rows_of_pass(p, 0);
  wait_for_previous_kernel();  // who they are is the work of the kernels before
  const int i = int(blockIdx.y);
  if (p.experts.ids != nullptr) {
    expert = p.experts.ids[i];
    return {p.experts.shares_x ? 0 : i, 1, i};
  }
  const ExpertRows& found = p.experts.rows[i];
  expert = found.expert;
  return {found.first, found.count, found.first};
}

__device__ inline float part_of(const float4& v, int j) {
  return j == 0 ? v.x : j == 1 ? v.y : j == 2 ? v.z : v.w;
}

// What a lane sums up: rows g and g + 8 (h) of a tile, columns 2t and 2t + 1 (c), at 2h + c.
template <int kTiles, int kFrags>
using Accumulators = float[kTiles][kFrags][4];

// Partial sums in shared memory: [segment][tile][column][16 rows, padded against bank conflicts].
inline constexpr int kColumnFloats = 20;
template <int kTiles, int kFrags>
inline constexpr int kPartFloats = kTiles * 8 * kFrags* kColumnFloats;

template <int kTiles, int kFrags>
__device__ inline void store_parts(const Accumulators<kTiles, kFrags>& acc, int lane, float* part) {
  for (int r = 0; r < kTiles; ++r) {
    for (int f = 0; f < kFrags; ++f) {
      for (int i = 0; i < 4; ++i) {
        const int column = 8 * f + lane % 4 * 2 + i % 2, row = lane / 4 + 8 * (i / 2);
        part[(r * 8 * kFrags + column) * kColumnFloats + row] = acc[r][f][i];
      }
    }
  }
}

template <int kTiles, int kFrags>
__device__ inline float merged(const float* parts, int n_segments, int tile, int column, int row) {
  const float* at = parts + (tile * 8 * kFrags + column) * kColumnFloats + row;
  float sum = at[0];
  for (int s = 1; s < n_segments; ++s) sum += at[s * kPartFloats<kTiles, kFrags>];
  return sum;
}

// What a block works on at a time: neighbouring tiles of a job, or one of gate and one of up; for
// the rows of x of pass index % n_passes. So blocks that run together read the same weights, which
// come from memory once.
struct Item {
  int job;
  int64_t tile;
};

// Up to 8 rows of x are one pass.
template <int kTiles, int kFrags>
__device__ inline Item item_at(const MatvecParams& p, int index) {
  if constexpr (kFrags > 1) index /= p.n_passes;
  if (p.glu) return {0, index};
  int job = 0;
  while (job + 1 < p.n_jobs && index >= p.jobs[job + 1].first_item) ++job;
  return {job, int64_t(index - p.jobs[job].first_item) * kTiles};
}

__device__ inline float with_bias(const MatvecJob& job, int expert, int64_t row, float value) {
  return job.bias != nullptr ? value + job.bias[expert * job.m + row] : value;
}

// Merges the segments, `unit` times as large, and writes what the block computed.
template <int kTiles, int kFrags>
__device__ inline void write_outputs(const MatvecParams& p, const Item& item, int expert,
                                     const RowRange& rows, const float* parts, float unit) {
  const MatvecJob& job = p.jobs[item.job];
  const int n_segments = int(blockDim.x) / 32;
  const int n_outputs = (p.glu ? 1 : kTiles) * kTileRows * rows.count;
  for (int i = int(threadIdx.x); i < n_outputs; i += int(blockDim.x)) {
    const int row_in_tile = i % kTileRows, column = i / kTileRows % rows.count;
    const int r = i / kTileRows / rows.count;
    const int64_t row = (item.tile + r) * kTileRows + row_in_tile;
    if (row >= job.m) continue;
    float* out = job.out + (rows.out + column) * job.out_stride + row;
    float value = merged<kTiles, kFrags>(parts, n_segments, r, column, row_in_tile) * unit;
    value = with_bias(job, expert, row, value);
    if (p.glu) {
      float up = merged<kTiles, kFrags>(parts, n_segments, 1, column, row_in_tile) * unit;
      up = with_bias(p.jobs[1], expert, row, up);
      value = gated(p.act, p.limit, value, up);
    }
    *out = job.accumulate ? *out + value : value;
  }
}

}  // namespace lm::cuda
