// The engine: built-in variables, barriers, meetings of lanes, shared memory, orders of threads.
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <set>
#include <vector>

#include "backends/cuda/ptx.cuh"
#include "tests/simt/run_kernel.h"

namespace {

using simt::for_each_schedule;
using simt::run_kernel;

__global__ void write_indices(unsigned* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] += block * 1000 + thread + 1;
}

// Reverses the block's numbers through shared memory.
__global__ void reverse_numbers(const float* in, float* out, bool with_barrier) {
  LM_SHARED(float, numbers);
  numbers[threadIdx.x] = in[threadIdx.x];
  if (with_barrier) __syncthreads();
  out[threadIdx.x] = numbers[blockDim.x - 1 - threadIdx.x];
}

__global__ void reverse_in_warp(const float* in, float* out, bool with_barrier) {
  LM_SHARED(float, numbers);
  numbers[threadIdx.x] = in[threadIdx.x];
  if (with_barrier) __syncwarp();
  out[threadIdx.x] = numbers[threadIdx.x ^ 31];
}

// Whoever comes first to a counter: a race by design.
__global__ void take_tickets(unsigned* counter, unsigned* tickets) {
  tickets[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(counter, 1u);
}

__global__ void many_phases(unsigned* out, int n) {
  LM_SHARED(unsigned, sums);
  sums[threadIdx.x] = threadIdx.x;
  for (int i = 0; i < n; ++i) {
    __syncthreads();
    const unsigned next = sums[(threadIdx.x + 1) % blockDim.x];
    __syncthreads();
    sums[threadIdx.x] = next;
  }
  out[threadIdx.x] = sums[threadIdx.x];
}

__global__ void read_unwritten(unsigned* out) {
  LM_SHARED(unsigned, words);
  out[blockIdx.x * blockDim.x + threadIdx.x] = words[threadIdx.x];
  words[threadIdx.x] = 7;
}

// Lanes of one warp in groups of different size, which meet a different number of times.
__global__ void groups_of_lanes(unsigned* out) {
  const unsigned lane = threadIdx.x % 32;
  const unsigned mask = lane < 4 ? 0xfu : lane < 12 ? 0xff0u : 0xfffff000u;
  const int n_meetings = lane < 4 ? 1 : lane < 12 ? 2 : 3;
  unsigned sum = 0;
  for (int i = 0; i < n_meetings; ++i) sum += unsigned(__popc(__ballot_sync(mask, 1)));
  out[threadIdx.x] = sum;
}

std::vector<float> numbers_below(size_t n) {
  std::vector<float> numbers(n);
  for (size_t i = 0; i < n; ++i) numbers[i] = float(i);
  return numbers;
}

}  // namespace

TEST_CASE("every thread of every block runs once, in any order") {
  for_each_schedule([] {
    std::vector<unsigned> out(2 * 3 * 4 * 60);
    REQUIRE(run_kernel({2, 3, 4}, {5, 4, 3}, 0, write_indices, out.data()) == cudaSuccess);
    for (unsigned i = 0; i < out.size(); ++i) REQUIRE(out[i] == i / 60 * 1000 + i % 60 + 1);
  });
}

TEST_CASE("a missing barrier of the block shows under every schedule or between them") {
  const std::vector<float> in = numbers_below(256);
  for (const bool with_barrier : {true, false}) {
    std::set<std::vector<float>> results;
    for_each_schedule([&] {
      std::vector<float> out(256);
      REQUIRE(run_kernel(1, 256, 1024, reverse_numbers, in.data(), out.data(), with_barrier) ==
              cudaSuccess);
      for (float& x : out) x = x == x ? x : -1;  // what nobody has written is NaN
      results.insert(out);
    });
    CHECK(results.size() == (with_barrier ? 1 : 3));
    if (with_barrier) CHECK(results.begin()->front() == 255);
  }
}

TEST_CASE("a missing barrier of the warp shows as well") {
  const std::vector<float> in = numbers_below(64);
  for (const bool with_barrier : {true, false}) {
    for_each_schedule([&] {
      std::vector<float> out(64);
      REQUIRE(run_kernel(1, 64, 256, reverse_in_warp, in.data(), out.data(), with_barrier) ==
              cudaSuccess);
      bool right = true;
      for (size_t i = 0; i < 64; ++i) right = right && out[i] == in[i ^ 31];
      CHECK(right == with_barrier);
    });
  }
}

TEST_CASE("threads and blocks run in three orders, each the same every time") {
  std::set<std::vector<unsigned>> orders;
  for_each_schedule([&] {
    std::vector<unsigned> again;
    for (int repeat = 0; repeat < 2; ++repeat) {
      unsigned counter = 0;
      std::vector<unsigned> tickets(6 * 96);
      REQUIRE(run_kernel(6, 96, 0, take_tickets, &counter, tickets.data()) == cudaSuccess);
      CHECK(std::set<unsigned>(tickets.begin(), tickets.end()).size() == 6 * 96);
      if (repeat == 1) CHECK(tickets == again);
      again = tickets;
    }
    orders.insert(again);
  });
  CHECK(orders.size() == 3);
}

TEST_CASE("1024 threads pass many barriers") {
  for_each_schedule([] {
    std::vector<unsigned> out(1024);
    REQUIRE(run_kernel(1, 1024, 4096, many_phases, out.data(), 33) == cudaSuccess);
    for (unsigned i = 0; i < 1024; ++i) REQUIRE(out[i] == (i + 33) % 1024);
  });
}

TEST_CASE("shared memory is poison when a block begins, whatever the block before left there") {
  std::vector<unsigned> out(3 * 8);
  REQUIRE(run_kernel(3, 8, 32, read_unwritten, out.data()) == cudaSuccess);
  for (const unsigned word : out) CHECK(word == 0xffffffffu);
}

TEST_CASE("groups of lanes meet apart from each other") {
  for_each_schedule([] {
    std::vector<unsigned> out(64);
    REQUIRE(run_kernel(1, 64, 0, groups_of_lanes, out.data()) == cudaSuccess);
    for (unsigned i = 0; i < 64; ++i) {
      const unsigned lane = i % 32;
      CHECK(out[i] == (lane < 4 ? 4u : lane < 12 ? 16u : 60u));
    }
  });
}
