// backends/cuda/matvec.cuh — up to 16 rows of x times a matrix in planes, at the rate at which the
// weights arrive. A warp takes two tiles of 16 rows and a segment of the columns; every 32 columns
// an exact integer dot on the tensor cores, then scales in f32; the block's warps are the segments,
// whose sums are merged in order. So a result has the same bits whatever else is computed with it.
#pragma once
#include <algorithm>

#include "backends/cuda/formats.cuh"
#include "backends/cuda/input_rows.cuh"
#include "backends/cuda/launch.h"
#include "backends/cuda/matvec.h"
#include "backends/cuda/matvec_block.cuh"

namespace lm::cuda {

// 128 columns of x as a lane of mma_s8's B operand holds them, and the scales of its two columns of
// D, for kFrags times 8 rows of x. Rows behind the last are zero.
template <class F, int kFrags>
struct InputChunk {
  uint4 codes[kFrags][2];
  float4 scales[kFrags][2];
  float4 sums[kFrags][F::kMinimum ? 2 : 1];
  float4 high_sums[kFrags][F::kMinimum && F::kHalves ? 2 : 1];

  __device__ void load(const QuantizedRows& x, const RowRange& rows, int chunk, int lane) {
    for (int f = 0; f < kFrags; ++f) {
      const int row = 8 * f + lane / 4;
      const uint8_t* at = x.codes +
                          (int64_t(rows.first + row) * x.n_chunks + chunk) * kChunkColumns +
                          lane % 4 * 16;
      for (int i = 0; i < 2; ++i) {
        codes[f][i] =
            row < rows.count ? *reinterpret_cast<const uint4*>(at + 64 * i) : uint4{0, 0, 0, 0};
      }
      for (int c = 0; c < 2; ++c) {
        const int column = 8 * f + lane % 4 * 2 + c;
        const int64_t group = (int64_t(rows.first + column) * x.n_chunks + chunk) * 4;
        const bool exists = column < rows.count;
        scales[f][c] = four_or_zero(x.scales + group, exists);
        if constexpr (F::kMinimum) sums[f][c] = four_or_zero(x.sums + group, exists);
        if constexpr (F::kMinimum && F::kHalves) {
          high_sums[f][c] = four_or_zero(x.high_sums + group, exists);
        }
      }
    }
  }
  __device__ static float4 four_or_zero(const float* at, bool exists) {
    return exists ? *reinterpret_cast<const float4*>(at) : float4{0, 0, 0, 0};
  }
};

// dots[2h + c] = Σ a b over group j, weighted with the scales of its halves where it has those.
template <class F>
__device__ inline void group_dots(const typename F::Factors& factors, const uint32_t (&a)[4],
                                  const uint32_t (&b)[2], int j, int (&dots)[4]) {
  if constexpr (!F::kHalves) {
    for (int& dot : dots) dot = 0;
    mma_s8(dots, a, b);
  } else {
    int parts[2][4] = {};
    mma_s8_half(parts[0], {a[0], a[1]}, b[0]);
    mma_s8_half(parts[1], {a[2], a[3]}, b[1]);
    for (int i = 0; i < 4; ++i) {
      dots[i] = F::part_scale(factors, i / 2, j, 0) * parts[0][i] +
                F::part_scale(factors, i / 2, j, 1) * parts[1][i];
    }
  }
}

template <class F, int kFrags>
__device__ inline void add_minimum(const typename F::Factors& factors,
                                   const InputChunk<F, kFrags>& x, int f, int j, float (&acc)[4]) {
  for (int i = 0; i < 4; ++i) {
    const int h = i / 2, c = i % 2;
    const float minimum = F::minimum(factors, h, j);
    const float sum = part_of(x.sums[f][c], j);
    if constexpr (!F::kHalves) {
      acc[i] = fmaf(minimum, sum, acc[i]);
    } else {
      const float high = part_of(x.high_sums[f][c], j);
      const float first = float(F::part_minimum(factors, h, j, 0));
      const float second = float(F::part_minimum(factors, h, j, 1));
      acc[i] = fmaf(minimum, fmaf(first, sum - high, second * high), acc[i]);
    }
  }
}

// Adds 128 columns of a tile: groups in order, each a product of scales times an exact dot.
template <class F, int kFrags>
__device__ inline void add_chunk(const typename F::Chunk& weights, const InputChunk<F, kFrags>& x,
                                 int second, float (&acc)[kFrags][4]) {
  const typename F::Factors factors = F::factors(weights, second);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    uint32_t a[4];
    F::fragment(weights, j, a);
#pragma unroll
    for (int f = 0; f < kFrags; ++f) {
      const uint32_t b[2] = {word_of(x.codes[f][j / 2], j % 2 * 2),
                             word_of(x.codes[f][j / 2], j % 2 * 2 + 1)};
      int dots[4];
      group_dots<F>(factors, a, b, j, dots);
      for (int i = 0; i < 4; ++i) {
        const float scale = F::scale(factors, i / 2, j) * part_of(x.scales[f][i % 2], j);
        acc[f][i] = fmaf(float(dots[i]), scale, acc[f][i]);
      }
      if constexpr (F::kMinimum) add_minimum<F, kFrags>(factors, x, f, j, acc[f]);
    }
  }
}

// The sums of chunks [begin, end) of a block's tiles. kAhead chunks of each tile are on their way
// while one is multiplied; the first ones are asked for before the previous kernel, which makes x,
// has finished. kAlone: twice as many, of a block that has a multiprocessor's registers to itself.
template <class F, int kFrags, bool kAlone>
struct Segment {
  // As registers allow; one fat chunk is as many bytes.
  static constexpr size_t kNarrowBytes = F::kMinimum ? 32 : 48;  // minima bring sums of x with them
  static constexpr bool kTwo =
      !F::kHeavy && (kFrags == 2 || sizeof(typename F::Chunk) <= kNarrowBytes);
  static constexpr int kAhead = (kTwo ? 2 : 1) * (kAlone ? 2 : 1);
  static constexpr int kChunks = plane_record(F::kType).columns / kChunkColumns;
  const uint8_t* tiles[kTilesPerBlock];
  int begin, end, lane;
  typename F::Chunk ahead[kAhead][kTilesPerBlock];

  __device__ void load(int chunk, int r, typename F::Chunk& to) const {
    constexpr int kBytes = plane_record(F::kType).bytes;
    F::load(tiles[r] + int64_t(chunk / kChunks) * kBytes, chunk % kChunks, lane, to);
  }
  __device__ void start() {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      for (int r = 0; r < kTilesPerBlock && begin + i < end; ++r) load(begin + i, r, ahead[i][r]);
    }
  }
  __device__ void sum(const QuantizedRows& x, const RowRange& rows,
                      Accumulators<kTilesPerBlock, kFrags>& acc) {
#pragma unroll 1
    for (int first = begin; first < end; first += kAhead) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int chunk = first + i;
        if (chunk >= end) return;
        InputChunk<F, kFrags> input;
        input.load(x, rows, chunk, lane);
#pragma unroll
        for (int r = 0; r < kTilesPerBlock; ++r) {
          add_chunk<F, kFrags>(ahead[i][r], input, chunk % kChunks, acc[r]);
          if (chunk + kAhead < end) load(chunk + kAhead, r, ahead[i][r]);
        }
      }
    }
  }
};

template <class F, int kFrags, bool kAlone>
__device__ inline void aim(const MatvecParams& p, const Item& item, int expert,
                           Segment<F, kFrags, kAlone>& sums) {
  const int64_t offset = expert * p.experts.matrix_bytes + item.tile * p.tile_bytes;
  const MatvecJob& job = p.jobs[item.job];
  sums.tiles[0] = job.weights + offset;
  if (p.glu) {
    sums.tiles[1] = p.jobs[1].weights + offset;
  } else {  // where there is no second tile, the first one again
    const bool exists = (item.tile + 1) * kTileRows < job.m;
    sums.tiles[1] = sums.tiles[0] + (exists ? p.tile_bytes : 0);
  }
}

template <int kFrags>
inline constexpr int kParts = kPartFloats<kTilesPerBlock, kFrags>;

inline constexpr int kChunksAtOnce = 4;  // that a warp quantizes
inline constexpr int kLongSum = 64;      // chunks
template <int kFrags>
inline constexpr int kBlocksAtOnce = kFrags == 1 ? kNarrowBlocks : kWideBlocks;

// Block: a warp for each segment. Grid: as many blocks as run at once, which share the items;
// experts. Bytes: the matrices once; x from the caches for each item.
template <class F, int kFrags, bool kAlone>
__global__ void __launch_bounds__(32 * kMostSegments, kAlone ? 1 : kBlocksAtOnce<kFrags>)
    matvec_kernel(const MatvecParams p) {
  LM_SHARED(float, parts);
  allow_next_kernel();
  int expert;
  RowRange rows = rows_of_block(p, expert);
  if (rows.count == 0) return;
  const int segment = int(threadIdx.x) / 32, n_segments = int(blockDim.x) / 32;
  Segment<F, kFrags, kAlone> sums;
  sums.begin = p.x.n_chunks * segment / n_segments;
  sums.end = p.x.n_chunks * (segment + 1) / n_segments;
  sums.lane = int(threadIdx.x) % 32;
  int index = int(blockIdx.x);
  aim(p, item_at<kTilesPerBlock, kFrags>(p, index), expert, sums);
  sums.start();
  prefetch_norm(p.input);
  wait_for_previous_kernel();
  QuantizedRows x = p.x;
  if (p.input.x != nullptr) {
    x = quantized_rows(reinterpret_cast<std::byte*>(parts + n_segments * kParts<kFrags>), p.x.n,
                       p.input.k);
    for (int row = 0; row < x.n; ++row) {
      quantize_row<kChunksAtOnce>(p.input, x, row, blockIdx.x == 0, parts);
      __syncthreads();
    }
  }
  while (true) {
    if constexpr (kFrags > 1) {
      if (p.experts.n == 0) rows = rows_of_pass(p, index % p.n_passes);
    }
    Accumulators<kTilesPerBlock, kFrags> acc = {};
    sums.sum(x, rows, acc);
    store_parts<kTilesPerBlock, kFrags>(acc, sums.lane, parts + segment * kParts<kFrags>);
    const int next = index + int(gridDim.x);
    if (next < p.n_items) {
      aim(p, item_at<kTilesPerBlock, kFrags>(p, next), expert, sums);
      sums.start();
    }
    __syncthreads();
    write_outputs<kTilesPerBlock, kFrags>(p, item_at<kTilesPerBlock, kFrags>(p, index), expert,
                                          rows, parts, F::kUnit);
    if (next >= p.n_items) break;
    __syncthreads();
    index = next;
  }
}

template <class F, int kFrags>
void launch_matvec(const Context& context, const MatvecParams& params, int segments) {
  size_t shared = size_t(segments) * kParts<kFrags> * sizeof(float);
  if (params.input.x != nullptr) {
    shared += size_t(quantized_rows_bytes(params.x.n, params.input.k));
  }
  const bool experts = params.experts.n > 0;
  const int at_once = context.facts.n_multiprocessors * kBlocksAtOnce<kFrags>;
  const int n_blocks = experts ? params.n_items : std::min(params.n_items, at_once);
  const Grid grid = {dim3(unsigned(n_blocks), unsigned(experts ? params.experts.n : 1)),
                     dim3(unsigned(32 * segments)), shared};
  if constexpr (kFrags == 1) {
    // One block of a multiprocessor has too few bytes on their way for its share of the bandwidth.
    if (!experts && n_blocks <= context.facts.n_multiprocessors && params.x.n_chunks >= kLongSum) {
      return launch(context, matvec_kernel<F, kFrags, true>, grid, params);
    }
  }
  launch(context, matvec_kernel<F, kFrags, false>, grid, params);
}

template <class F>
MatvecLauncher matvec_launcher(bool wide) {
  return wide ? launch_matvec<F, 2> : launch_matvec<F, 1>;
}

}  // namespace lm::cuda
