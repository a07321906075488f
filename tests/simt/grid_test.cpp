// The engine: built-in variables, barriers, meetings of lanes, and what it says of wrong kernels.
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <vector>

#include "backends/cuda/ptx.cuh"
#include "tests/simt/simt.h"

namespace {

constexpr simt::Schedule kSchedules[] = {simt::Schedule::forward, simt::Schedule::reverse,
                                         simt::Schedule::random};

template <class... Params, class... Args>
cudaError_t run(dim3 blocks, dim3 threads, size_t shared_bytes, void (*kernel)(Params...),
                Args... args) {
  cudaLaunchConfig_t config = {};
  config.gridDim = blocks;
  config.blockDim = threads;
  config.dynamicSmemBytes = shared_bytes;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, Params(args)...);
  return error != cudaSuccess ? error : cudaDeviceSynchronize();
}

__global__ void write_indices(unsigned* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}

// Reverses the block's numbers through shared memory.
__global__ void reverse_numbers(const float* in, float* out, bool with_barrier) {
  LM_SHARED(float, numbers);
  numbers[threadIdx.x] = in[threadIdx.x];
  if (with_barrier) __syncthreads();
  out[threadIdx.x] = numbers[blockDim.x - 1 - threadIdx.x];
}

__global__ void sum_of_warp(const float* in, float* out) {
  float x = in[threadIdx.x];
  for (int bits = 16; bits > 0; bits /= 2) x += __shfl_xor_sync(0xffffffffu, x, bits);
  out[threadIdx.x] = x;
}

}  // namespace

TEST_CASE("every thread of every block runs once, in any order") {
  for (const simt::Schedule schedule : kSchedules) {
    simt::set_schedule(schedule);
    std::vector<unsigned> out(2 * 3 * 4 * 60, ~0u);
    REQUIRE(run({2, 3, 4}, {5, 4, 3}, 0, write_indices, out.data()) == cudaSuccess);
    for (unsigned i = 0; i < out.size(); ++i) REQUIRE(out[i] == i / 60 * 1000 + i % 60);
  }
  simt::set_schedule(simt::Schedule::forward);
}

TEST_CASE("a missing barrier shows as results that depend on the order of threads") {
  std::vector<float> in(256);
  for (size_t i = 0; i < in.size(); ++i) in[i] = float(i);
  for (const bool with_barrier : {true, false}) {
    std::vector<std::vector<float>> results;
    for (const simt::Schedule schedule : kSchedules) {
      simt::set_schedule(schedule);
      std::vector<float> out(256);
      REQUIRE(run(1, 256, 1024, reverse_numbers, in.data(), out.data(), with_barrier) ==
              cudaSuccess);
      bool right = true;
      for (size_t i = 0; i < 256; ++i) right = right && out[i] == in[255 - i];
      CHECK(right == with_barrier);
    }
  }
  simt::set_schedule(simt::Schedule::forward);
}

TEST_CASE("shuffles add up the numbers of a warp") {
  std::vector<float> in(64), out(64);
  for (size_t i = 0; i < in.size(); ++i) in[i] = float(i);
  for (const simt::Schedule schedule : kSchedules) {
    simt::set_schedule(schedule);
    REQUIRE(run(1, 64, 0, sum_of_warp, in.data(), out.data()) == cudaSuccess);
    for (size_t i = 0; i < 64; ++i) CHECK(out[i] == (i < 32 ? 496.0f : 1520.0f));
  }
  simt::set_schedule(simt::Schedule::forward);
}
