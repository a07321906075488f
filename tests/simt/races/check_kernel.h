// tests/simt/races/check_kernel.h — for the tests of the detector: what kernels put between two
// accesses, and whether a kernel is found to have a race.
#pragma once
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "backends/cuda/ptx.cuh"
#include "tests/simt/run_kernel.h"

namespace simt {

enum class Between { nothing, block_barrier, warp_barrier, shuffle, vote, product, half_warps };

__device__ inline void put(Between between) {
  int sums[4] = {};
  const uint32_t a[4] = {}, b[2] = {};
  if (between == Between::block_barrier) __syncthreads();
  if (between == Between::warp_barrier) __syncwarp();
  if (between == Between::shuffle) __shfl_xor_sync(0xffffffffu, 1, 1);
  if (between == Between::vote) __ballot_sync(0xffffffffu, 1);
  if (between == Between::product) lm::cuda::mma_s8(sums, a, b);
  if (between == Between::half_warps) __syncwarp(threadIdx.x % 32 < 16 ? 0xffffu : 0xffff0000u);
}

// Whether a kernel is refused with these words under every order of threads and blocks, or, with
// none, runs to its end.
template <class... Params, class... Args>
void check(const std::vector<const char*>& words, dim3 blocks, dim3 threads, size_t shared_bytes,
           void (*kernel)(Params...), Args... args) {
  simt::set_race_detection(true);
  simt::for_each_schedule([&] {
    const simt::ErrorCollector errors;
    const cudaError_t error = run_kernel(blocks, threads, shared_bytes, kernel, args...);
    CAPTURE(errors.messages().empty() ? std::string("no message") : errors.messages().front());
    CHECK(error == (words.empty() ? cudaSuccess : cudaErrorLaunchFailure));
    for (const char* part : words) CHECK(errors.has(part));
  });
  simt::set_race_detection(false);
}
inline const std::vector<const char*> kFine = {};

struct Buffer {
  alignas(16) int words[4096] = {};
};

}  // namespace simt
