// backends/cuda/hopper/limits_hopper.cu — the loop of a GEMM without its copies: two warpgroups
// multiply the same tiles of shared memory over and over.
#include "backends/cuda/hopper/limits_hopper.h"
#include "backends/cuda/hopper/ptx.cuh"
#include "backends/cuda/launch.h"
#include "backends/cuda/ptx.cuh"

namespace lm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRows = 64, kColumns = 256, kDepth = 64;  // of a warpgroup and turn
constexpr int kTileBytes = kRows * kDepth * 2;
constexpr int kSharedBytes = 2 * kTileBytes + kColumns * kDepth * 2;

// Numbers of both signs around 1 / 8: zeros would be multiplied faster than what a model holds.
__device__ inline void fill(std::byte* tiles) {
  uint32_t* words = reinterpret_cast<uint32_t*>(tiles);
  for (int i = int(threadIdx.x); i < kSharedBytes / 4; i += kThreads) {
    words[i] = (uint32_t(i) * 2654435761u & 0x83ff83ffu) | 0x30003000u;
  }
}

__global__ void __launch_bounds__(kThreads, 1) multiply_warpgroups(int turns, uint32_t* out) {
  LM_SHARED(std::byte, shared);
  wait_for_previous_kernel();
  const uint32_t address = hopper::shared_address(shared);
  std::byte* const tiles = shared + ((address + 1023) / 1024 * 1024 - address);
  fill(tiles);
  hopper::fence_tiles();
  __syncthreads();
  const uint64_t a = hopper::operand(tiles + int(threadIdx.x) / 128 * kTileBytes);
  const uint64_t b = hopper::operand(tiles + 2 * kTileBytes);
  float sums[kColumns / 2] = {};
  for (int turn = 0; turn < turns; ++turn) {
    hopper::begin_products();
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k) {
      hopper::multiply_async(sums, a + uint64_t(2 * k), b + uint64_t(2 * k));
    }
    hopper::commit_products();
    hopper::wait_products<1>();
  }
  hopper::wait_products<0>();
  hopper::settle(sums);
  float sum = 0;
#pragma unroll
  for (const float part : sums) sum += part;
  if (sum == 0.5f) *out = 1;
}

}  // namespace

void multiply_by_wgmma(const Context& context, int turns, uint32_t* out) {
  const Grid grid{.blocks = dim3(unsigned(context.facts.n_multiprocessors)),
                  .threads = dim3(kThreads),
                  .shared_bytes = kSharedBytes + 1024};
  launch(context, multiply_warpgroups, grid, turns, out);
}

double wgmma_flops(const DeviceFacts& facts, int turns) {
  return 2.0 * 2 * kRows * kColumns * kDepth * turns * facts.n_multiprocessors;
}

Status prepare_wgmma_limits() {
  return allow_shared_bytes(multiply_warpgroups, kSharedBytes + 1024);
}

}  // namespace lm::cuda
