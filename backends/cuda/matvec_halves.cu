// Up to 16 rows of x at a time times matrices of f16 or bf16 as in the file, at the rate at which
// the weights arrive. On tensor cores, as tf32, which holds every number of both types; a number of
// x becomes two of those, which hold 22 of its bits. A warp takes one or two tiles of 16 rows and a
// segment of the columns; the block's warps are the segments, whose sums are merged in order. So a
// result has the same bits whatever else is computed with it.
// Bytes: the matrix once; x from the caches for each item: 4 n / (16 or 32 rows) a weight.
// By count of the PTX, a weight takes 6.3 lane-instructions for 16 rows of x and two tiles, 6.4 for
// 8 and one (tiles alone for 16: 9.7). f32 products would take 18 for 16 rows, and the caches 4 to
// 8 times the bytes. An H200 has time for 16 while a weight's two bytes arrive, and its tensor
// cores for twice the products of 16 rows. (Not measured yet.)
#include <algorithm>

#include "backends/cuda/formats.cuh"
#include "backends/cuda/launch.h"
#include "backends/cuda/matvec.h"
#include "backends/cuda/matvec_block.cuh"
#include "backends/cuda/ptx.cuh"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

constexpr int kStepColumns = 32;  // 16 bytes a lane and row
constexpr int kRowsAtOnce = 2;    // of a tile, of a lane
constexpr int kBlocksAtOnce = 2;  // of a multiprocessor, as registers allow

// The two numbers of a word, as tf32.
struct PairOfF16 {
  __device__ static uint32_t first(uint32_t word) { return __float_as_uint(half_at(word, 0)); }
  __device__ static uint32_t second(uint32_t word) { return __float_as_uint(half_at(word, 1)); }
};
struct PairOfBf16 {
  __device__ static uint32_t first(uint32_t word) { return word << 16; }
  __device__ static uint32_t second(uint32_t word) { return word & 0xFFFF0000u; }
};

// x ≈ high + low.
struct Split {
  uint32_t high, low;
};
__device__ inline Split split(float x) {
  constexpr uint32_t kTf32 = 0xFFFFE000u;
  const uint32_t high = (__float_as_uint(x) + 0x1000u) & kTf32;  // to the nearest
  return {high, __float_as_uint(x - __uint_as_float(high)) & kTf32};
}

// Columns 8t .. 8t + 7 of a step, of row g of each 8 rows of x.
template <int kFrags>
struct InputStep {
  float4 values[kFrags][2];
};

// Where a lane's columns begin in its rows of x; nullptr: there is no such row.
template <int kFrags>
struct InputLane {
  const float* at[kFrags];

  __device__ InputLane(const MatvecParams& p, const RowRange& rows, int lane) {
    for (int f = 0; f < kFrags; ++f) {
      const int i = 8 * f + lane / 4;
      at[f] = nullptr;
      if (i >= rows.count) continue;
      int row = rows.first + i;
      if (p.input_order.places != nullptr) {
        row = p.input_order.places[row] / p.input_order.divisor;
      }
      at[f] = p.input.x + row * p.input.stride + lane % 4 * 8;
    }
  }
  __device__ void load(int step, bool exists, InputStep<kFrags>& to) const {
#pragma unroll
    for (int f = 0; f < kFrags; ++f) {
      const bool row_exists = exists && at[f] != nullptr;
      for (int i = 0; i < 2; ++i) {
        to.values[f][i] = float4{0, 0, 0, 0};
        if (!row_exists) continue;
        to.values[f][i] = reinterpret_cast<const float4*>(at[f] + step * kStepColumns)[i];
      }
    }
  }
};

// The sums of steps [begin, end) of tiles. Steps of the weights are on their way while one is
// multiplied, so that a lane waits for 8 loads; the first ones are asked for before the previous
// kernel, which makes x, has finished.
template <class Pair, int kTiles, int kFrags>
struct HalvesSegment {
  static constexpr int kAhead = 4 / kTiles;
  const uint8_t* weights[kTiles][kRowsAtOnce];
  int begin, end, k, lane;
  uint4 ahead[kAhead][kTiles][kRowsAtOnce];

  __device__ bool in_row(int step) const { return step * kStepColumns + lane % 4 * 8 < k; }
  // Columns 8t .. 8t + 7 of a step, of rows g and g + 8 of a tile; zeros behind the last column.
  __device__ void load(int step, int r, uint4 (&to)[kRowsAtOnce]) const {
    for (int h = 0; h < kRowsAtOnce; ++h) {
      to[h] =
          in_row(step) ? load_codes(weights[r][h] + 2 * kStepColumns * step) : uint4{0, 0, 0, 0};
    }
  }
  __device__ void start() {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      for (int r = 0; r < kTiles && begin + i < end; ++r) load(begin + i, r, ahead[i][r]);
    }
  }
  // Product i of four: numbers 2i and 2i + 1 of each lane's eight are its columns t and t + 4.
  __device__ static void multiply(const uint4 (&tiles)[kTiles][kRowsAtOnce],
                                  const InputStep<kFrags>& x, int i,
                                  Accumulators<kTiles, kFrags>& acc) {
    Split b[kFrags][2];
    for (int f = 0; f < kFrags; ++f) {
      for (int e = 0; e < 2; ++e) b[f][e] = split(part_of(x.values[f][i / 2], i % 2 * 2 + e));
    }
#pragma unroll
    for (int r = 0; r < kTiles; ++r) {
      const uint32_t g = word_of(tiles[r][0], i), g8 = word_of(tiles[r][1], i);
      const uint32_t a[4] = {Pair::first(g), Pair::first(g8), Pair::second(g), Pair::second(g8)};
#pragma unroll
      for (int f = 0; f < kFrags; ++f) {
        mma_tf32(acc[r][f], a, {b[f][0].low, b[f][1].low});
        mma_tf32(acc[r][f], a, {b[f][0].high, b[f][1].high});
      }
    }
  }
  __device__ void sum(const InputLane<kFrags>& x, Accumulators<kTiles, kFrags>& acc) {
    InputStep<kFrags> next;
    x.load(begin, in_row(begin), next);
#pragma unroll 1
    for (int first = begin; first < end; first += kAhead) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int step = first + i;
        if (step >= end) return;
        const InputStep<kFrags> now = next;
        if (step + 1 < end) x.load(step + 1, in_row(step + 1), next);
#pragma unroll
        for (int product = 0; product < 4; ++product) multiply(ahead[i], now, product, acc);
        for (int r = 0; r < kTiles; ++r) {
          if (step + kAhead < end) load(step + kAhead, r, ahead[i][r]);
        }
      }
    }
  }
};

// Behind the last row of a matrix, that one again.
template <class Pair, int kTiles, int kFrags>
__device__ inline void aim(const MatvecParams& p, const Item& item, int expert,
                           HalvesSegment<Pair, kTiles, kFrags>& sums) {
  const int64_t row_bytes = p.tile_bytes / kTileRows;
  const int64_t offset = expert * p.experts.matrix_bytes + sums.lane % 4 * 16;
  for (int r = 0; r < kTiles; ++r) {
    const MatvecJob& job = p.jobs[p.glu ? r : item.job];
    const int64_t tile = p.glu ? item.tile : item.tile + r;
    for (int h = 0; h < kRowsAtOnce; ++h) {
      const int64_t row = tile * kTileRows + sums.lane / 4 + 8 * h;
      sums.weights[r][h] = job.weights + offset + min(row, job.m - 1) * row_bytes;
    }
  }
}

// Block: a warp for each segment. Grid: items; experts.
template <class Pair, int kTiles, int kFrags>
__global__ void __launch_bounds__(32 * kMostSegments, kBlocksAtOnce)
    halves_kernel(const MatvecParams p) {
  LM_SHARED(float, parts);
  allow_next_kernel();
  int expert;
  RowRange rows = rows_of_block(p, expert);
  if (rows.count == 0) return;
  const int segment = int(threadIdx.x) / 32;
  const int n_steps = (p.input.k + kStepColumns - 1) / kStepColumns;
  const Item item = item_at<kTiles, kFrags>(p, int(blockIdx.x));
  HalvesSegment<Pair, kTiles, kFrags> sums;
  sums.begin = n_steps * segment / kMostSegments;
  sums.end = n_steps * (segment + 1) / kMostSegments;
  sums.k = p.input.k;
  sums.lane = int(threadIdx.x) % 32;
  aim(p, item, expert, sums);
  sums.start();
  wait_for_previous_kernel();
  if constexpr (kFrags > 1) {
    if (p.experts.n == 0) rows = rows_of_pass(p, int(blockIdx.x) % p.n_passes);
  }
  const InputLane<kFrags> x(p, rows, sums.lane);
  Accumulators<kTiles, kFrags> acc = {};
  sums.sum(x, acc);
  store_parts<kTiles, kFrags>(acc, sums.lane, parts + segment * kPartFloats<kTiles, kFrags>);
  __syncthreads();
  write_outputs<kTiles, kFrags>(p, item, expert, rows, parts, 1);
}

template <class Pair, int kTiles, int kFrags>
void launch_halves(const Context& context, MatvecParams& params) {
  count_items(params, kTiles);
  launch(context, halves_kernel<Pair, kTiles, kFrags>,
         {dim3(unsigned(params.n_items), unsigned(std::max(params.experts.n, 1))),
          dim3(32 * kMostSegments), kMostSegments * kPartFloats<kTiles, kFrags> * sizeof(float)},
         params);
}

// An item is one tile, so that small matrices make work for all multiprocessors; two where they do
// in any case and more than 8 rows of x come with each.
template <class Pair>
void launch_pairs(const Context& context, MatvecParams& params, bool wide) {
  count_items(params, 2);
  const bool two = params.glu || (wide && params.n_items >= 2 * context.facts.n_multiprocessors);
  if (two) {
    (wide ? launch_halves<Pair, 2, 2> : launch_halves<Pair, 2, 1>)(context, params);
  } else {
    (wide ? launch_halves<Pair, 1, 2> : launch_halves<Pair, 1, 1>)(context, params);
  }
}

}  // namespace

bool has_halves_matvec(const DeviceFacts& facts, Tensor weight, const InputRows& x) {
  return facts.tf32 && weight.layout == 0 &&
         (weight.dtype == DType::f16 || weight.dtype == DType::bf16) && x.k % 8 == 0 &&
         weight.row_bytes % 16 == 0 && x.aligned;
}

void halves_matvec(const Context& context, DType type, MatvecParams& params, bool wide) {
  LM_CHECK(params.input.aligned && params.input.norm == nullptr);
  if (type == DType::f16) {
    launch_pairs<PairOfF16>(context, params, wide);
  } else {
    launch_pairs<PairOfBf16>(context, params, wide);
  }
}

}  // namespace lm::cuda
