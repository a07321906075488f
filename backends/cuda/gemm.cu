// backends/cuda/gemm.cu — many rows times a matrix: both become tiles of f16 in scratch memory
// (half_tiles.h), and tensor cores multiply them with f32 sums. Weights are turned into tiles in
// slabs of bounded size; slabs of several matrices of one input share a launch.
// Every sum runs over k in order, 16 at a time: a row's bits depend on its shape alone.
// Tile sizes are estimates, not measured on a device yet (cuda_linear_bench does).
#include <algorithm>

#include "backends/cuda/gemm_kernel.h"
#include "backends/cuda/gemm_output.cuh"
#include "backends/cuda/half_tiles.cuh"
#include "backends/cuda/launch.h"
#include "backends/cuda/ops.h"
#include "backends/cuda/ptx.cuh"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

constexpr int kStages = 3;
constexpr size_t kMostSlabBytes = size_t{256} << 20;

// A block's tile: kRows of x by kColumns of the launch; a warp's is 32 columns by kWarpRows.
template <int rows, int columns>
struct BlockTile {
  static constexpr int kRows = rows, kColumns = columns;
  static constexpr int kWarpRows = rows / 2, kWarpColumns = 32;
  static constexpr int kThreads = 32 * 2 * (columns / kWarpColumns);
  static constexpr int kBytes = (rows + columns) * kHalfTileColumns * 2;  // of a stage
  static constexpr size_t kSharedBytes = size_t(kStages) * kBytes;
};
using LargeTile = BlockTile<128, 128>;
using SmallTile = BlockTile<64, 64>;

// One stage: the tile's rows of x, then of the weights, of one chunk of k.
template <class Tile>
__device__ inline void copy_stage(const GemmParams& p, std::byte* stage, int row, int column,
                                  int64_t chunk) {
  constexpr int kPieceBytes = 16;
  for (int at = int(threadIdx.x) * kPieceBytes; at < Tile::kBytes;
       at += Tile::kThreads * kPieceBytes) {
    constexpr int kRowBytes = Tile::kRows * kHalfTileColumns * 2;
    const bool of_x = at < kRowBytes;
    const int inside = of_x ? at : at - kRowBytes;
    const int64_t tile = ((of_x ? row : column) + inside / (2 * kHalfTileColumns)) / kHalfTileRows;
    const std::byte* from = (of_x ? p.x : p.weights) +
                            (tile * p.n_chunks + chunk) * kHalfTileBytes + inside % kHalfTileBytes;
    copy_async_16(stage + at, from);
  }
}

// sums += x wᵀ over the 64 columns of k of a stage. Fragments: see mma_f16 and load_matrix.
template <class Tile, int n_rows, int n_columns>
__device__ inline void multiply_stage(const std::byte* x, const std::byte* w, int row, int column,
                                      float (&sums)[n_rows][n_columns][4]) {
  const int lane = int(threadIdx.x) % 32;
#pragma unroll
  for (int k = 0; k < kHalfTileColumns / 16; ++k) {
    uint32_t a[n_rows][4];
#pragma unroll
    for (int i = 0; i < n_rows; ++i) {
      load_matrix(a[i], x + swizzled(row + 16 * i + lane % 16, 2 * k + lane / 16));
    }
#pragma unroll
    for (int j = 0; j < n_columns; j += 2) {
      uint32_t b[4];
      load_matrix(b, w + swizzled(column + 8 * j + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
#pragma unroll
      for (int i = 0; i < n_rows; ++i) {
        mma_f16(sums[i][j], a[i], {b[0], b[1]});
        mma_f16(sums[i][j + 1], a[i], {b[2], b[3]});
      }
    }
  }
}

// Blocks: x rows fastest, so that those that run together share the columns' weights. 2 n m k
// flops; (n/columns + m/rows) (tile) k 2 bytes from the caches, n m 4 out.
template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads) multiply_tiles(const GemmParams p) {
  LM_SHARED(std::byte, shared);
  wait_for_previous_kernel();
  const int row0 = int(blockIdx.x) * Tile::kRows, column0 = int(blockIdx.y) * Tile::kColumns;
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  const int warp_row = warp % 2 * Tile::kWarpRows, warp_column = warp / 2 * Tile::kWarpColumns;
  constexpr int kRowTiles = Tile::kWarpRows / 16, kColumnTiles = Tile::kWarpColumns / 8;
  float sums[kRowTiles][kColumnTiles][4] = {};
  for (int64_t chunk = 0; chunk < kStages - 1; ++chunk) {
    if (chunk < p.n_chunks) {
      copy_stage<Tile>(p, shared + chunk * Tile::kBytes, row0, column0, chunk);
    }
    commit_copies();
  }
  for (int64_t chunk = 0; chunk < p.n_chunks; ++chunk) {
    wait_copies<kStages - 2>();
    __syncthreads();  // this chunk is here for all, and all are done with the one before
    const int64_t next = chunk + kStages - 1;
    if (next < p.n_chunks) {
      copy_stage<Tile>(p, shared + next % kStages * Tile::kBytes, row0, column0, next);
    }
    commit_copies();
    const std::byte* x = shared + chunk % kStages * Tile::kBytes;
    multiply_stage<Tile>(x, x + Tile::kRows * kHalfTileColumns * 2, warp_row, warp_column, sums);
  }
  const GemmOutput output = output_of(p, column0);
  const int first_column = column0 - output.first_column + warp_column + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
    for (int half = 0; half < 2; ++half) {
      const int row = row0 + warp_row + 16 * i + 8 * half + lane / 4;
      if (row >= p.n_rows) continue;
      const float unscale = p.unscale[row];
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j) {
        store_pair(output, row, first_column + 8 * j, unscale, sums[i][j][2 * half],
                   sums[i][j][2 * half + 1]);
      }
    }
  }
}

template <class Tile>
void launch_tiles(const Context& context, const GemmParams& params) {
  const Grid grid{.blocks = dim3(unsigned((params.n_rows + Tile::kRows - 1) / Tile::kRows),
                                 unsigned(params.n_columns / Tile::kColumns)),
                  .threads = unsigned(Tile::kThreads),
                  .shared_bytes = Tile::kSharedBytes};
  launch(context, multiply_tiles<Tile>, grid, params);
}

bool has_large_tile(const DeviceFacts& facts) {
  return facts.max_shared_bytes >= int(LargeTile::kSharedBytes);
}

void multiply(const Context& context, const GemmParams& params) {
  if (context.facts.wgmma) return hopper_gemm(context, params);
  const int64_t large_blocks = int64_t{params.n_columns / LargeTile::kColumns} *
                               ((params.n_rows + LargeTile::kRows - 1) / LargeTile::kRows);
  if (has_large_tile(context.facts) && large_blocks >= context.facts.n_multiprocessors) {
    launch_tiles<LargeTile>(context, params);
  } else {
    launch_tiles<SmallTile>(context, params);
  }
}

// Scratch: x's tiles, what its rows were scaled by, a slab of weights.
struct GemmScratch {
  std::byte* x;
  float* unscale;
  std::byte* slab;
  size_t slab_bytes;
};

constexpr size_t round_up(size_t value, size_t to) {
  return (value + to - 1) / to * to;
}
size_t x_bytes(int64_t n, int64_t k) {
  return size_t(half_tiles_bytes(int64_t(round_up(size_t(n), kGemmRows)), k));
}
size_t unscale_bytes(int64_t n) {
  return round_up(size_t(n) * sizeof(float), 256);
}

GemmScratch scratch_for(const Context& context, int64_t n, int64_t k) {
  GemmScratch scratch{};
  scratch.x = context.memory(Scratch::gemm);
  std::byte* end = scratch.x + context.scratch.bytes[size_t(Scratch::gemm)];
  std::byte* unscale = scratch.x + x_bytes(n, k);
  scratch.unscale = reinterpret_cast<float*>(unscale);
  scratch.slab = unscale + unscale_bytes(n);
  LM_CHECK(scratch.slab + half_tiles_bytes(kGemmColumns, k) <= end);
  scratch.slab_bytes = size_t(end - scratch.slab);
  return scratch;
}

GemmOutput output_for(const Linear& op, int64_t first, int64_t n, int first_column) {
  GemmOutput output;
  output.out = f32(op.out) + first;
  output.stride = f32_stride(op.out);
  output.bias = op.bias ? f32(op.bias) + first : nullptr;
  output.first_column = first_column;
  output.n_columns = int(n);
  output.accumulate = op.accumulate;
  output.paired = output.stride % 2 == 0 && reinterpret_cast<uintptr_t>(output.out) % 8 == 0;
  return output;
}

void check_shapes(const Linear& op, const Linear& first) {
  LM_CHECK(op.x.data() == first.x.data() && op.x.rows() == first.x.rows());
  LM_CHECK(op.x.cols() == op.weight.cols() && op.out.cols() == op.weight.rows());
  LM_CHECK(op.out.rows() == op.x.rows());
  LM_CHECK(!op.bias || op.bias.cols() == op.weight.rows());
}

}  // namespace

Status prepare_gemm(const DeviceFacts& facts) {
  LM_TRY(allow_shared_bytes(multiply_tiles<SmallTile>, SmallTile::kSharedBytes));
  if (has_large_tile(facts)) {
    LM_TRY(allow_shared_bytes(multiply_tiles<LargeTile>, LargeTile::kSharedBytes));
  }
  return facts.wgmma ? prepare_hopper_gemm(facts) : ok();
}

size_t gemm_scratch_bytes(const StepLimits& limits) {
  const int64_t k = limits.max_linear_in, n = limits.max_tokens;
  const size_t largest =
      size_t(half_tiles_bytes(int64_t(round_up(size_t(limits.max_linear_out), kGemmColumns)), k));
  const size_t least = size_t(half_tiles_bytes(kGemmColumns, k));
  return x_bytes(n, k) + unscale_bytes(n) + std::max(least, std::min(largest, kMostSlabBytes));
}

void gemm(const Context& context, std::span<const Linear> ops) {
  const int64_t n = ops[0].x.rows(), k = ops[0].x.cols();
  if (n == 0) return;
  const GemmScratch scratch = scratch_for(context, n, k);
  activations_to_half_tiles(context, ops[0].x, scratch.x, scratch.unscale);
  const int64_t slab_columns =
      int64_t(scratch.slab_bytes) / half_tiles_bytes(kGemmColumns, k) * kGemmColumns;
  GemmParams params;
  params.x = scratch.x;
  params.unscale = scratch.unscale;
  params.weights = scratch.slab;
  params.n_chunks = half_chunks(k);
  params.n_rows = int(n);
  const auto multiply_slab = [&] {
    if (params.n_outputs > 0) multiply(context, params);
    params.n_outputs = params.n_columns = 0;
  };
  for (const Linear& op : ops) {
    check_shapes(op, ops[0]);
    const int64_t m = op.weight.rows();
    for (int64_t first = 0; first < m;) {
      if (params.n_outputs == kMostOutputs || params.n_columns == slab_columns) multiply_slab();
      const int64_t taken = std::min(m - first, slab_columns - params.n_columns);
      weights_to_half_tiles(context, op.weight, first, taken, scratch.slab, params.n_columns);
      params.outputs[size_t(params.n_outputs++)] = output_for(op, first, taken, params.n_columns);
      params.n_columns += int(round_up(size_t(taken), kGemmColumns));
      first += taken;
    }
  }
  multiply_slab();
}

}  // namespace lm::cuda
