// backends/cuda/hopper/gemm_hopper.cu — the GEMM's tiles multiplied by wgmma: one warp brings tiles
// to shared memory as bulk copies, two warpgroups multiply them, each 64 rows of the block's 128.
// Blocks stay and take tile after tile, so that copies run ahead through the end of a tile.
// Seen by the assembler and the emulation only, not by a device yet: tile sizes and stages are
// estimates. BackendOptions::wgmma turns it off.
#include <algorithm>

#include "backends/cuda/gemm_kernel.h"
#include "backends/cuda/gemm_output.cuh"
#include "backends/cuda/half_tiles.h"
#include "backends/cuda/hopper/ptx.cuh"
#include "backends/cuda/launch.h"
#include "backends/cuda/ptx.cuh"

namespace lm::cuda {
namespace {

constexpr int kWarpgroup = 128;           // threads
constexpr int kThreads = 3 * kWarpgroup;  // the first copies
constexpr int kMultiplyingWarps = 8;
constexpr int kAlignment = 1024;  // of tiles in shared memory: the swizzle's period

template <int columns>
struct HopperTile {
  static constexpr int kColumns = columns;
  static constexpr int kXBytes = kGemmRows * kHalfTileColumns * 2;
  static constexpr int kBytes = kXBytes + columns * kHalfTileColumns * 2;  // of a stage
  static constexpr int kStages = 196608 / kBytes;                          // 4 or 6
  static constexpr size_t kSharedBytes = size_t(kStages) * (kBytes + 16) + kAlignment;
};

template <class Tile>
struct Stages {
  std::byte* data;
  uint64_t* full;   // the stage's bytes are here
  uint64_t* empty;  // the stage's bytes were read
};

// Position in the ring of stages. The parity of a barrier's n-th phase is n % 2.
template <class Tile>
struct Ring {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void advance() {
    if (++stage < Tile::kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

template <class Tile>
__device__ inline void copy_tiles(const GemmParams& p, const Stages<Tile>& stages, int n_row_tiles,
                                  int n_tiles) {
  Ring<Tile> ring;
  for (int tile = int(blockIdx.x); tile < n_tiles; tile += int(gridDim.x)) {
    constexpr int kXTiles = kGemmRows / kHalfTileRows, kTiles = Tile::kBytes / kHalfTileBytes;
    const int64_t x_tile = int64_t(tile % n_row_tiles) * kXTiles;
    const int64_t w_tile = int64_t(tile / n_row_tiles) * (Tile::kColumns / kHalfTileRows);
    for (int64_t chunk = 0; chunk < p.n_chunks; ++chunk, ring.advance()) {
      hopper::wait(stages.empty + ring.stage, ring.parity ^ 1);  // at first they are empty
      uint64_t* full = stages.full + ring.stage;
      std::byte* to = stages.data + ring.stage * Tile::kBytes;
      hopper::arrive_and_expect(full, Tile::kBytes);
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
        const std::byte* from =
            i < kXTiles
                ? p.x + ((x_tile + i) * p.n_chunks + chunk) * kHalfTileBytes
                : p.weights + ((w_tile + i - kXTiles) * p.n_chunks + chunk) * kHalfTileBytes;
        hopper::copy_bulk(to + i * kHalfTileBytes, from, kHalfTileBytes, full);
      }
    }
  }
}

// A warpgroup's 64 rows of a tile.
template <class Tile>
__device__ inline void multiply_tile(const GemmParams& p, const Stages<Tile>& stages, int warpgroup,
                                     Ring<Tile>& ring, float (&sums)[Tile::kColumns / 2]) {
#pragma unroll
  for (float& sum : sums) sum = 0;
  uint64_t* read_before = nullptr;
  const bool signals = threadIdx.x % 32 == 0;
  for (int64_t chunk = 0; chunk < p.n_chunks; ++chunk, ring.advance()) {
    hopper::wait(stages.full + ring.stage, ring.parity);
    const std::byte* x = stages.data + ring.stage * Tile::kBytes;
    const uint64_t a = hopper::operand(x + warpgroup * kHalfTileBytes);
    const uint64_t b = hopper::operand(x + Tile::kXBytes);
    hopper::begin_products();
#pragma unroll
    for (int k = 0; k < kHalfTileColumns / 16; ++k) {
      constexpr int kStep = 16 * 2 >> 4;  // of the operands' address field
      hopper::multiply_async(sums, a + uint64_t(k * kStep), b + uint64_t(k * kStep));
    }
    hopper::commit_products();
    hopper::wait_products<1>();
    if (read_before != nullptr && signals) hopper::arrive(read_before);
    read_before = stages.empty + ring.stage;
  }
  hopper::wait_products<0>();
  hopper::settle(sums);
  if (read_before != nullptr && signals) hopper::arrive(read_before);
}

template <class Tile>
__device__ inline void store_tile(const GemmParams& p, int row, int column,
                                  const float (&sums)[Tile::kColumns / 2]) {
  const GemmOutput output = output_of(p, column);
  const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32 % 4;
  const int first_column = column - output.first_column + lane % 4 * 2;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int at = row + 16 * warp + lane / 4 + 8 * half;
    if (at >= p.n_rows) continue;
    const float unscale = p.unscale[at];
#pragma unroll
    for (int j = 0; j < Tile::kColumns / 8; ++j) {
      store_pair(output, at, first_column + 8 * j, unscale, sums[4 * j + 2 * half],
                 sums[4 * j + 2 * half + 1]);
    }
  }
}

// 2 n m k flops; (n/columns + m/rows) (tile) k 2 bytes from the second-level cache, n m 4 out.
template <class Tile>
__global__ void __launch_bounds__(kThreads, 1)
    multiply_tiles_hopper(const __grid_constant__ GemmParams p) {
  LM_SHARED(std::byte, shared);
  Stages<Tile> stages;
  const uint32_t address = hopper::shared_address(shared);
  stages.data = shared + ((address + kAlignment - 1) / kAlignment * kAlignment - address);
  stages.full = reinterpret_cast<uint64_t*>(stages.data + Tile::kStages * Tile::kBytes);
  stages.empty = stages.full + Tile::kStages;
  if (threadIdx.x == 0) {
    for (int i = 0; i < Tile::kStages; ++i) {
      hopper::init_barrier(stages.full + i, 1);
      hopper::init_barrier(stages.empty + i, kMultiplyingWarps);
    }
    hopper::fence_barriers();
  }
  __syncthreads();
  wait_for_previous_kernel();
  const int n_row_tiles = (p.n_rows + kGemmRows - 1) / kGemmRows;
  const int n_tiles = n_row_tiles * (p.n_columns / Tile::kColumns);
  const int warpgroup = int(threadIdx.x) / kWarpgroup - 1;
  if (warpgroup < 0) {
    hopper::keep_registers<40>();
    if (threadIdx.x == 0) copy_tiles<Tile>(p, stages, n_row_tiles, n_tiles);
  } else {
    hopper::take_registers<232>();
    Ring<Tile> ring;
    for (int tile = int(blockIdx.x); tile < n_tiles; tile += int(gridDim.x)) {
      float sums[Tile::kColumns / 2];
      multiply_tile<Tile>(p, stages, warpgroup, ring, sums);
      store_tile<Tile>(p, tile % n_row_tiles * kGemmRows + warpgroup * 64,
                       tile / n_row_tiles * Tile::kColumns, sums);
    }
  }
}

using WideTile = HopperTile<256>;
using NarrowTile = HopperTile<128>;

int n_tiles(const GemmParams& params, int columns) {
  return (params.n_rows + kGemmRows - 1) / kGemmRows * (params.n_columns / columns);
}

template <class Tile>
void launch_tiles(const Context& context, const GemmParams& params) {
  const int blocks = std::min(n_tiles(params, Tile::kColumns), context.facts.n_multiprocessors);
  const Grid grid{.blocks = unsigned(blocks),
                  .threads = unsigned(kThreads),
                  .shared_bytes = Tile::kSharedBytes};
  launch(context, multiply_tiles_hopper<Tile>, grid, params);
}

}  // namespace

Status prepare_hopper_gemm(const DeviceFacts&) {
  LM_TRY(allow_shared_bytes(multiply_tiles_hopper<WideTile>, WideTile::kSharedBytes));
  return allow_shared_bytes(multiply_tiles_hopper<NarrowTile>, NarrowTile::kSharedBytes);
}

void hopper_gemm(const Context& context, const GemmParams& params) {
  // Rounds of all multiprocessors; a wide tile takes about 1.8 times as long as a narrow one.
  const auto rounds = [&](int columns) {
    const int of_device = context.facts.n_multiprocessors;
    return (n_tiles(params, columns) + of_device - 1) / of_device;
  };
  if (18 * rounds(WideTile::kColumns) <= 10 * rounds(NarrowTile::kColumns)) {
    launch_tiles<WideTile>(context, params);
  } else {
    launch_tiles<NarrowTile>(context, params);
  }
}

}  // namespace lm::cuda
