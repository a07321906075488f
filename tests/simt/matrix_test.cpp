// Matrix products, ldmatrix and cp.async: element by element from the tables of the PTX manual, and
// asynchronous copies that somebody forgot to wait for.
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "backends/cuda/ptx.cuh"
#include "tests/simt/run_kernel.h"
#include "tests/support/support.h"

namespace {

using simt::for_each_schedule;
using simt::run_kernel;

// Fragments are loaded one element at a time with the formulas of PTX ISA 9.0 for element i of lane
// (groupID, threadID_in_group), not a word at a time.
__global__ void multiply_bytes(const int8_t* a, const int8_t* b, int* d) {
  const int group = int(threadIdx.x) >> 2, in_group = int(threadIdx.x) % 4;
  uint32_t fragment_a[4] = {}, fragment_b[2] = {};
  for (int i = 0; i < 16; ++i) {
    const int row = i < 4 || (i >= 8 && i < 12) ? group : group + 8;
    const int col = in_group * 4 + (i & 3) + (i >= 8 ? 16 : 0);
    fragment_a[i / 4] |= uint32_t(uint8_t(a[row * 32 + col])) << i % 4 * 8;
  }
  for (int i = 0; i < 8; ++i) {
    const int row = in_group * 4 + (i & 3) + (i >= 4 ? 16 : 0);
    fragment_b[i / 4] |= uint32_t(uint8_t(b[row * 8 + group])) << i % 4 * 8;
  }
  int sum[4];
  for (int i = 0; i < 4; ++i) {
    sum[i] = d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)];
  }
  lm::cuda::mma_s8(sum, fragment_a, fragment_b);
  for (int i = 0; i < 4; ++i) {
    d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = sum[i];
  }
}

__global__ void multiply_halves(const __half* a, const __half* b, float* d) {
  const int group = int(threadIdx.x) >> 2, in_group = int(threadIdx.x) % 4;
  uint32_t fragment_a[4] = {}, fragment_b[2] = {};
  for (int i = 0; i < 8; ++i) {
    const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
    const int col = in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
    fragment_a[i / 2] |= uint32_t(__half_as_ushort(a[row * 16 + col])) << i % 2 * 16;
  }
  for (int i = 0; i < 4; ++i) {
    const int row = in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0);
    fragment_b[i / 2] |= uint32_t(__half_as_ushort(b[row * 8 + group])) << i % 2 * 16;
  }
  float sum[4];
  for (int i = 0; i < 4; ++i) {
    sum[i] = d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)];
  }
  lm::cuda::mma_f16(sum, fragment_a, fragment_b);
  for (int i = 0; i < 4; ++i) {
    d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = sum[i];
  }
}

__global__ void multiply_tf32(const float* a, const float* b, float* d) {
  const int group = int(threadIdx.x) >> 2, in_group = int(threadIdx.x) % 4;
  uint32_t fragment_a[4], fragment_b[2];
  for (int i = 0; i < 4; ++i) {
    const int row = i % 2 == 0 ? group : group + 8, col = i < 2 ? in_group : in_group + 4;
    fragment_a[i] = __float_as_uint(a[row * 8 + col]);
  }
  for (int i = 0; i < 2; ++i) {
    fragment_b[i] = __float_as_uint(b[(in_group + 4 * i) * 8 + group]);
  }
  float sum[4];
  for (int i = 0; i < 4; ++i) {
    sum[i] = d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)];
  }
  lm::cuda::mma_tf32(sum, fragment_a, fragment_b);
  for (int i = 0; i < 4; ++i) {
    d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = sum[i];
  }
}

// `n` matrices of 8 x 8, of which the rows lie `stride` halves apart.
template <int n, bool transposed>
__global__ void load_matrices(const uint16_t* from, int stride, uint32_t* to) {
  LM_SHARED(uint16_t, shared);
  for (int i = int(threadIdx.x); i < n * 8 * stride; i += 32) shared[i] = from[i];
  __syncthreads();
  uint32_t r[n];
  const int row = int(threadIdx.x) % (n * 8);  // the other lanes' rows are not read
  if constexpr (transposed) {
    lm::cuda::load_matrix_transposed(r, shared + row * stride);
  } else {
    lm::cuda::load_matrix(r, shared + row * stride);
  }
  for (int i = 0; i < n; ++i) to[threadIdx.x * n + unsigned(i)] = r[i];
}

template <int n, bool transposed>
void check_load(int stride) {
  std::vector<uint16_t> from(size_t(n * 8 * stride));
  for (size_t i = 0; i < from.size(); ++i) from[i] = uint16_t(i * 7 + 1);
  std::vector<uint32_t> to(32 * n);
  REQUIRE(run_kernel(1, 32, from.size() * 2, &load_matrices<n, transposed>, from.data(), stride,
                     to.data()) == cudaSuccess);
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j < 2; ++j) {
        const int row = i * 8 + (transposed ? lane % 4 * 2 + j : lane / 4);
        const int column = transposed ? lane / 4 : lane % 4 * 2 + j;
        const uint32_t word = to[size_t(lane * n + i)];
        REQUIRE((word >> 16 * j & 0xffffu) == from[size_t(row * stride + column)]);
      }
    }
  }
}

__global__ void load_misaligned(uint32_t* to) {
  LM_SHARED(uint16_t, shared);
  uint32_t r[1];
  lm::cuda::load_matrix(r, shared + threadIdx.x % 8 * 12);
  to[threadIdx.x] = r[0];
}

// Sums `n_tiles` tiles of 32 x 4 words through two buffers, waiting for all but `n_pending` groups.
template <int n_pending>
__global__ void sum_tiles(const uint4* from, int n_tiles, uint32_t* to) {
  LM_SHARED(uint4, buffers);
  const auto start = [&](int tile) {
    lm::cuda::copy_async_16(&buffers[unsigned(tile % 2) * 32 + threadIdx.x],
                            &from[unsigned(tile) * 32 + threadIdx.x], tile < n_tiles);
    lm::cuda::commit_copies();
  };
  uint32_t sum = 0;
  start(0);
  for (int tile = 0; tile < n_tiles; ++tile) {
    start(tile + 1);
    lm::cuda::wait_copies<n_pending>();
    __syncthreads();
    const uint4 words = buffers[tile % 2 * 32 + int(threadIdx.x ^ 1)];
    sum += words.x + words.y + words.z + words.w;
    __syncthreads();
  }
  to[threadIdx.x] = sum;
}

__global__ void copy_without_commit(const uint4* from, uint4* to) {
  LM_SHARED(uint4, shared);
  lm::cuda::copy_async_16(shared, from);
  lm::cuda::wait_copies<0>();
  *to = *shared;
}

__global__ void copy_outside(const uint4* from, uint4* to) {
  lm::cuda::copy_async_16(to, from);
}

}  // namespace

TEST_CASE("a product of bytes is the product, and wraps around") {
  lm::test::Random random(2);
  std::array<int8_t, 16 * 32> a;
  std::array<int8_t, 32 * 8> b;
  for (int8_t& x : a) x = int8_t(random.next());
  for (int8_t& x : b) x = int8_t(random.next());
  for_each_schedule([&] {
    std::array<int, 16 * 8> d;
    d.fill(1000);
    REQUIRE(run_kernel(1, 32, 0, multiply_bytes, a.data(), b.data(), d.data()) == cudaSuccess);
    for (size_t i = 0; i < 16; ++i) {
      for (size_t j = 0; j < 8; ++j) {
        int sum = 1000;
        for (size_t k = 0; k < 32; ++k) sum += int(a[i * 32 + k]) * int(b[k * 8 + j]);
        REQUIRE(d[i * 8 + j] == sum);
      }
    }
  });
}

TEST_CASE("a product of halves is the product") {
  lm::test::Random random(4);
  std::array<__half, 16 * 16> a;
  std::array<__half, 16 * 8> b;
  for (__half& x : a) x = __float2half_rn(random.normal());
  for (__half& x : b) x = __float2half_rn(random.normal());
  for_each_schedule([&] {
    std::array<float, 16 * 8> d;
    d.fill(0.5f);
    REQUIRE(run_kernel(1, 32, 0, multiply_halves, a.data(), b.data(), d.data()) == cudaSuccess);
    for (size_t i = 0; i < 16; ++i) {
      for (size_t j = 0; j < 8; ++j) {
        double sum = 0.5;
        for (size_t k = 0; k < 16; ++k) {
          sum += double(__half2float(a[i * 16 + k])) * double(__half2float(b[k * 8 + j]));
        }
        REQUIRE(d[i * 8 + j] == doctest::Approx(sum).epsilon(1e-7));
      }
    }
  });
}

TEST_CASE("a product of tf32 is the product, and of f32 is an error") {
  lm::test::Random random(5);
  std::array<float, 16 * 8> a;
  std::array<float, 8 * 8> b;
  for (float& x : a) x = __half2float(__float2half_rn(random.normal()));
  for (float& x : b) x = __half2float(__float2half_rn(random.normal()));
  for_each_schedule([&] {
    std::array<float, 16 * 8> d;
    d.fill(0.5f);
    REQUIRE(run_kernel(1, 32, 0, multiply_tf32, a.data(), b.data(), d.data()) == cudaSuccess);
    for (size_t i = 0; i < 16; ++i) {
      for (size_t j = 0; j < 8; ++j) {
        double sum = 0.5;
        for (size_t k = 0; k < 8; ++k) sum += double(a[i * 8 + k]) * double(b[k * 8 + j]);
        REQUIRE(d[i * 8 + j] == doctest::Approx(sum).epsilon(1e-7));
      }
    }
  });
  const simt::ErrorCollector errors;
  std::array<float, 16 * 8> d{};
  b[3] = 0.1f;
  CHECK(run_kernel(1, 32, 0, multiply_tf32, a.data(), b.data(), d.data()) ==
        cudaErrorLaunchFailure);
  CHECK(errors.has("more bits than tf32"));
}

TEST_CASE("matrices are loaded by rows or by columns") {
  for (const int stride : {8, 16, 72}) {
    check_load<1, false>(stride);
    check_load<2, false>(stride);
    check_load<4, false>(stride);
    check_load<1, true>(stride);
    check_load<2, true>(stride);
    check_load<4, true>(stride);
  }
  const simt::ErrorCollector errors;
  std::array<uint32_t, 32> to;
  CHECK(run_kernel(1, 32, 256, load_misaligned, to.data()) == cudaErrorLaunchFailure);
  CHECK(errors.has("a row is not aligned to 16"));
}

TEST_CASE("asynchronous copies arrive when they are waited for, and not before") {
  constexpr size_t kTiles = 5;
  std::vector<uint4> from(kTiles * 32);
  for (uint32_t i = 0; i < from.size(); ++i) from[i] = {i, 2 * i, 3 * i, 4 * i};
  for_each_schedule([&] {
    std::array<uint32_t, 32> good{}, waits_for_less{};
    const auto* const source = from.data();
    REQUIRE(run_kernel(1, 32, 1024, &sum_tiles<1>, source, int(kTiles), good.data()) ==
            cudaSuccess);
    REQUIRE(run_kernel(1, 32, 1024, &sum_tiles<2>, source, int(kTiles), waits_for_less.data()) ==
            cudaSuccess);
    for (uint32_t lane = 0; lane < 32; ++lane) {
      uint32_t sum = 0;
      for (uint32_t tile = 0; tile < kTiles; ++tile) sum += 10 * (tile * 32 + (lane ^ 1));
      CHECK(good[lane] == sum);
      CHECK(waits_for_less[lane] != sum);
    }
  });
}

TEST_CASE("copies that belong to no group, or go elsewhere, show") {
  const uint4 from = {1, 2, 3, 4};
  uint4 to = {};
  REQUIRE(run_kernel(1, 1, 16, copy_without_commit, &from, &to) == cudaSuccess);
  CHECK(to.x == 0xffffffffu);
  const simt::ErrorCollector errors;
  CHECK(run_kernel(1, 1, 16, copy_outside, &from, &to) == cudaErrorLaunchFailure);
  CHECK(errors.has("target is not in shared memory"));
}
