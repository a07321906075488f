// Kernels that are wrong, and what the emulation says of them.
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <vector>

#include "backends/cuda/ptx.cuh"
#include "tests/simt/run_kernel.h"
#include "tests/support/support.h"

namespace {

using simt::for_each_schedule;
using simt::run_kernel;

__global__ void leaves_before_barrier(int n) {
  if (int(threadIdx.x) >= n) return;
  __syncthreads();
}

__global__ void two_barriers(int* out) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    *out = 1;
    __syncthreads();
  }
}

__global__ void barrier_or_shuffle() {
  if (threadIdx.x == 0) {
    __syncthreads();
  } else {
    __syncwarp();
  }
}

__global__ void not_in_own_mask() {
  __syncwarp(0xfffffffeu);
}

__global__ void shuffles_from_outside(unsigned mask, int source, int* out) {
  if ((mask >> threadIdx.x & 1) != 0) out[threadIdx.x] = __shfl_sync(mask, 1, source);
}

__global__ void meets_an_exited_lane() {
  if (threadIdx.x == 5) return;
  __syncwarp();
}

__global__ void two_instructions(unsigned* out) {
  if (threadIdx.x % 2 == 0) {
    out[threadIdx.x] = __ballot_sync(0xffffffffu, 1);
  } else {
    out[threadIdx.x] = __shfl_sync(0xffffffffu, 1u, 0);
  }
}

// Lane 0 waits for 1, 1 for 2, and 2 for 0.
__global__ void waits_in_a_circle() {
  __syncwarp(threadIdx.x == 0 ? 3u : threadIdx.x == 1 ? 6u : 5u);
}

__global__ void writes_behind_shared(int at) {
  LM_SHARED(char, bytes);
  bytes[at] = 1;
}

__global__ void gives_up() {
  if (blockIdx.x == 1 && threadIdx.x == 3) __trap();
}

__global__ void adds(int* sum) {
  __syncthreads();
  atomicAdd(sum, 1);
}

// Each runs under the three schedules; each must be refused, with these words.
template <class... Params, class... Args>
void check_refused(const char* words, dim3 blocks, dim3 threads, size_t shared_bytes,
                   void (*kernel)(Params...), Args... args) {
  for_each_schedule([&] {
    const simt::ErrorCollector errors;
    CHECK(run_kernel(blocks, threads, shared_bytes, kernel, args...) == cudaErrorLaunchFailure);
    CAPTURE(errors.messages().empty() ? std::string() : errors.messages().front());
    CHECK(errors.messages().size() == 1);
    CHECK(errors.has(words));
  });
  int sum = 0;  // and the device goes on
  REQUIRE(run_kernel(3, 96, 0, adds, &sum) == cudaSuccess);
  CHECK(sum == 3 * 96);
}

}  // namespace

TEST_CASE("a barrier that not all threads reach is reported") {
  check_refused("which 24 of 64 threads never reach (24 have exited)", 1, 64, 0,
                leaves_before_barrier, 40);
  int out = 0;
  check_refused("while others wait at that at wrong_kernels_test.cpp:", 1, 64, 0, two_barriers,
                &out);
  check_refused("waits", 1, 32, 0, barrier_or_shuffle);
}

TEST_CASE("masks of lanes are exact") {
  std::vector<int> out(32);
  check_refused("mask fffffffe does not name the lane itself", 1, 32, 0, not_in_own_mask);
  check_refused("shuffles from lane 9, which is not in the mask", 1, 32, 0, shuffles_from_outside,
                0xffu, 9, out.data());
  check_refused("names lanes that the block does not have", 1, 16, 0, shuffles_from_outside,
                0xffffffffu, 0, out.data());
  check_refused("exit", 1, 32, 0, meets_an_exited_lane);
  std::vector<unsigned> votes(32);
  check_refused("names a lane that waits in another instruction", 1, 32, 0, two_instructions,
                votes.data());
  check_refused("for lanes 00000003, of which 00000002 never come", 1, 3, 0, waits_in_a_circle);
}

TEST_CASE("a message names kernel, block, thread and line") {
  const simt::ErrorCollector errors;
  CHECK(run_kernel(2, 32, 0, gives_up) == cudaErrorLaunchFailure);
  CHECK(errors.has("gives_up"));
  CHECK(errors.has("block (1,0,0), thread (3,0,0): __trap()"));
  int out = 0;
  CHECK(run_kernel(1, 64, 0, two_barriers, &out) == cudaErrorLaunchFailure);
  CHECK(
      errors.has("two_barriers(int*), block (0,0,0), thread (32,0,0): waits at the barrier at "
                 "wrong_kernels_test.cpp:"));
}

TEST_CASE("a byte behind shared memory is reported") {
  if (lm::test::kSanitized) LM_SKIP("AddressSanitizer ends the program there");
  check_refused("wrote behind its 100 bytes of shared memory", 1, 1, 100, writes_behind_shared,
                100);
}
