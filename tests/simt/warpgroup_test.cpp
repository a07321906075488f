// Barriers in shared memory, bulk copies and products of warpgroups, and kernels that use them
// wrongly.
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "backends/cuda/hopper/ptx.cuh"
#include "backends/cuda/ptx.cuh"
#include "quant/half.h"
#include "tests/simt/run_kernel.h"
#include "tests/support/support.h"

namespace {

using namespace lm::cuda::hopper;
using simt::for_each_schedule;
using simt::run_kernel;

constexpr int kRowBytes = 128;  // 64 halves

// What the kernels below do wrong.
enum class Mistake { none, reads_early, releases_early, forgets_to_wait };

// d[64, n] = a[64, k] b[n, k]^T for k = 64 n_chunks. a and b: a tile of 128-byte rows a chunk, in
// the order of shared memory, which holds two chunks. One warp copies, a warpgroup multiplies.
template <int n>
__global__ void multiply(const uint8_t* a, const uint8_t* b, int n_chunks, float* d,
                         Mistake mistake) {
  LM_SHARED(uint8_t, shared);
  constexpr int kABytes = 64 * kRowBytes, kBytes = kABytes + n * kRowBytes;
  uint64_t* const full = reinterpret_cast<uint64_t*>(shared + 2 * kBytes);
  uint64_t* const empty = full + 2;
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) {
      init_barrier(full + i, 1);
      init_barrier(empty + i, 4);
    }
    fence_barriers();
  }
  __syncthreads();
  if (threadIdx.x >= 128) {
    if (threadIdx.x != 128) return;
    for (int c = 0; c < n_chunks; ++c) {
      wait(empty + c % 2, uint32_t(c / 2 % 2) ^ 1);
      arrive_and_expect(full + c % 2, kBytes);
      uint8_t* const to = shared + c % 2 * kBytes;
      copy_bulk(to, a + c * kABytes, kABytes, full + c % 2);
      copy_bulk(to + kABytes, b + c * n * kRowBytes, n * kRowBytes, full + c % 2);
    }
    return;
  }
  float sums[n / 2] = {};
  const auto release = [&](int c) {
    if (threadIdx.x % 32 == 0) arrive(empty + c % 2);
  };
  for (int c = 0; c < n_chunks; ++c) {
    if (mistake != Mistake::reads_early) wait(full + c % 2, uint32_t(c / 2 % 2));
    const uint8_t* const tile = shared + c % 2 * kBytes;
    begin_products();
    for (int k = 0; k < 4; ++k) {
      multiply_async(sums, operand(tile) + uint64_t(2 * k),
                     operand(tile + kABytes) + uint64_t(2 * k));
    }
    commit_products();
    if (mistake == Mistake::releases_early) release(c);
    if (mistake != Mistake::forgets_to_wait) wait_products<0>();
    if (mistake != Mistake::releases_early) release(c);
  }
  for (int i = 0; i < n / 2; ++i) {
    const int row = int(threadIdx.x) / 32 * 16 + int(threadIdx.x) % 32 / 4 + i / 2 % 2 * 8;
    d[row * n + i / 4 * 8 + int(threadIdx.x) % 4 * 2 + i % 2] = sums[i];
  }
}

struct Operand {
  std::vector<float> values;   // [rows, k]
  std::vector<uint8_t> tiles;  // chunk after chunk
  Operand(int rows, int n_chunks, lm::test::Random& random)
      : values(size_t(rows * n_chunks * 64)), tiles(size_t(rows * n_chunks * kRowBytes)) {
    for (int row = 0; row < rows; ++row) {
      for (int k = 0; k < 64 * n_chunks; ++k) {
        const uint16_t half = lm::f32_to_f16(random.normal());
        values[size_t(row * n_chunks * 64 + k)] = lm::f16_to_f32(half);
        const int piece = k % 64 / 8 ^ row % 8;
        uint8_t* const tile = tiles.data() + k / 64 * rows * kRowBytes;
        std::memcpy(tile + row * kRowBytes + piece * 16 + k % 8 * 2, &half, 2);
      }
    }
  }
};

// How many of the products are wrong; -1: the kernel was stopped.
template <int n>
int n_wrong(Mistake mistake) {
  constexpr int kChunks = 5, kDepth = 64 * kChunks;
  lm::test::Random random(31);
  const Operand a(64, kChunks, random), b(n, kChunks, random);
  std::vector<float> d(size_t(64 * n));
  constexpr int kShared = 2 * (64 + n) * kRowBytes + 32;
  REQUIRE(cudaFuncSetAttribute(multiply<n>, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared) ==
          cudaSuccess);
  const cudaError_t error = run_kernel(1, 160, kShared, multiply<n>, a.tiles.data(), b.tiles.data(),
                                       kChunks, d.data(), mistake);
  if (error != cudaSuccess) return -1;
  int wrong = 0;
  for (int row = 0; row < 64; ++row) {
    for (int column = 0; column < n; ++column) {
      double exact = 0, size = 0;
      for (int k = 0; k < kDepth; ++k) {
        const double product =
            double(a.values[size_t(row * kDepth + k)]) * b.values[size_t(column * kDepth + k)];
        exact += product;
        size += std::abs(product);
      }
      const bool right = std::abs(d[size_t(row * n + column)] - exact) <= size * 0x1p-20;
      wrong += right ? 0 : 1;
    }
  }
  return wrong;
}

__global__ void waits_in_vain() {
  LM_SHARED(uint64_t, barrier);
  if (threadIdx.x == 0) init_barrier(barrier, 33);
  __syncthreads();
  arrive(barrier);
  wait(barrier, 0);
}

__global__ void arrives_too_often() {
  LM_SHARED(uint64_t, barrier);
  if (threadIdx.x != 0) return;
  init_barrier(barrier, 1);
  arrive_and_expect(barrier, 16);
  arrive(barrier);
}

__global__ void waits_at_nothing() {
  LM_SHARED(uint64_t, barrier);
  wait(barrier, 0);
}

__global__ void leaves_a_copy_behind(const uint8_t* from) {
  LM_SHARED(uint8_t, shared);
  uint64_t* const barrier = reinterpret_cast<uint64_t*>(shared + 16);
  init_barrier(barrier, 1);
  arrive_and_expect(barrier, 16);
  copy_bulk(shared, from, 16, barrier);
}

}  // namespace

TEST_CASE("products of a warpgroup, fed by bulk copies through two stages") {
  for_each_schedule([] {
    CHECK(n_wrong<128>(Mistake::none) == 0);
    CHECK(n_wrong<256>(Mistake::none) == 0);
  });
}

TEST_CASE("a wait that is missing around asynchronous products shows") {
  for (const Mistake mistake :
       {Mistake::reads_early, Mistake::releases_early, Mistake::forgets_to_wait}) {
    const simt::ErrorCollector errors;  // some are stopped
    bool shows = false;
    for_each_schedule([&] { shows = shows || n_wrong<128>(mistake) != 0; });
    CHECK(shows);
  }
}

TEST_CASE("barriers in shared memory that cannot work are reported") {
  const auto says = [](const char* what, void (*kernel)()) {
    const simt::ErrorCollector errors;
    CHECK(run_kernel(1, 32, 64, kernel) != cudaSuccess);
    CHECK(errors.has(what));
  };
  says("never ends", waits_in_vain);
  says("more arrivals", arrives_too_often);
  says("not initialised", waits_at_nothing);
  alignas(16) static const uint8_t data[16] = {};
  const simt::ErrorCollector errors;
  CHECK(run_kernel(1, 1, 32, leaves_a_copy_behind, data) != cudaSuccess);
  CHECK(errors.has("before its bulk copies"));
}
