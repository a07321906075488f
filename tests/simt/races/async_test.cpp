// Races of what goes on beside the threads: asynchronous copies and products; and of ldmatrix.
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <cstdint>

#include "backends/cuda/hopper/ptx.cuh"
#include "backends/cuda/ptx.cuh"
#include "tests/simt/races/check_kernel.h"

namespace {

using namespace lm::cuda;
using simt::Between;
using simt::Buffer;
using simt::check;
using simt::kFine;
using simt::put;

__global__ void copy_to_shared(const int* in, int* out, bool waits, Between between, int distance) {
  LM_SHARED(int, numbers);
  copy_async_16(numbers + 4 * threadIdx.x, in + 4 * threadIdx.x);
  commit_copies();
  if (waits) wait_copies<0>();
  put(between);
  out[threadIdx.x] = numbers[4 * (int(threadIdx.x) ^ distance)];
  if (!waits) wait_copies<0>();
}

// Stages that are filled in turns; a barrier lies between a read and the next copy but one.
__global__ void copy_in_stages(const int* in, int* out, int n_stages) {
  LM_SHARED(int, numbers);
  int sum = 0;
  for (int i = 0; i < 5; ++i) {
    int* const stage = numbers + i % n_stages * 256;
    copy_async_16(stage + 4 * threadIdx.x, in + 4 * threadIdx.x);
    commit_copies();
    wait_copies<0>();
    __syncthreads();
    sum += stage[(4 * threadIdx.x + 4) % 256];
  }
  out[threadIdx.x] = sum;
}

__global__ void load_tile(uint32_t* out, Between between) {
  LM_SHARED(uint32_t, tile);
  tile[threadIdx.x] = threadIdx.x;
  put(between);
  uint32_t r[1];
  load_matrix(r, tile + threadIdx.x % 8 * 4);
  out[threadIdx.x] = r[0];
}

// One warp has tiles copied in turns to one place, another reads them there; their only barriers
// are those that the copies count at.
enum class Mistake { none, no_barrier_after_init, barrier_for_wait, never_releases, one_waits };
__global__ void copy_in_bulk(const int* in, int* out, int n_tiles, Mistake mistake) {
  constexpr int kTile = 128;
  LM_SHARED(int, tile);
  uint64_t* const full = reinterpret_cast<uint64_t*>(tile + kTile);
  uint64_t* const empty = full + 1;
  if (threadIdx.x == 0) {
    hopper::init_barrier(full, 1);
    hopper::init_barrier(empty, 32);
    hopper::fence_barriers();
  }
  if (mistake == Mistake::no_barrier_after_init) {
    __syncwarp();
  } else {
    __syncthreads();
  }
  int sum = 0;
  for (int i = 0; i < n_tiles; ++i) {
    const uint32_t parity = uint32_t(i % 2);
    if (threadIdx.x == 0) {
      if (mistake != Mistake::never_releases) {
        hopper::wait(empty, parity ^ 1);
      } else if (i > 0) {
        hopper::wait(full, parity ^ 1);
      }
      hopper::arrive_and_expect(full, kTile * sizeof(int));
      hopper::copy_bulk(tile, in + i * kTile, kTile * sizeof(int), full);
    }
    if (mistake == Mistake::barrier_for_wait) __syncthreads();
    if (threadIdx.x < 32) continue;
    const bool waits =
        mistake == Mistake::one_waits ? threadIdx.x == 32 : mistake != Mistake::barrier_for_wait;
    if (waits) hopper::wait(full, parity);
    __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += tile[threadIdx.x];
    hopper::arrive(empty);
  }
  out[threadIdx.x] = sum;
}

// A product of tiles that the threads themselves have written, and write again.
enum class Wait { before_barrier, after_write, after_next_barrier, of_one_warp };
__global__ void multiply(float* out, bool orders_tiles, Wait wait) {
  LM_SHARED(uint4, tile);  // 64 rows of 128 bytes, then 128
  float sums[64] = {};
  for (int i = int(threadIdx.x); i < 1536; i += 128) tile[i] = {};
  hopper::fence_tiles();
  if (orders_tiles) __syncthreads();
  hopper::begin_products();
  hopper::multiply_async(sums, hopper::operand(tile), hopper::operand(tile + 512));
  hopper::commit_products();
  if (wait == Wait::before_barrier) hopper::wait_products<0>();
  __syncthreads();
  const bool waits_late = wait == Wait::of_one_warp && threadIdx.x >= 96;
  if (wait == Wait::of_one_warp && !waits_late) hopper::wait_products<0>();
  if (!waits_late) tile[(wait == Wait::of_one_warp ? 400 : 1408) + threadIdx.x] = {};
  if (wait == Wait::after_next_barrier) __syncthreads();
  if (waits_late || wait == Wait::after_write || wait == Wait::after_next_barrier) {
    hopper::wait_products<0>();
  }
  out[threadIdx.x] = sums[0];
}

}  // namespace

TEST_CASE("race: cp.async writes until it is waited for, and for others until a barrier") {
  Buffer in, out;
  const auto copies = [&](const std::vector<const char*>& words, bool waits, Between between,
                          int distance) {
    check(words, 1, 64, 1024, copy_to_shared, in.words, out.words, waits, between, distance);
  };
  for (const int distance : {0, 32}) {
    copies({"reads 4 bytes", "still copies to at async_test.cpp:"}, false, Between::block_barrier,
           distance);
  }
  copies({"race: "}, true, Between::nothing, 1);
  copies({"reads 4 bytes", "has written"}, true, Between::shuffle, 1);
  copies({"race: "}, true, Between::warp_barrier, 32);
  copies(kFine, true, Between::nothing, 0);
  copies(kFine, true, Between::warp_barrier, 1);
  copies(kFine, true, Between::block_barrier, 32);
  check({"race: "}, 1, 64, 2048, copy_in_stages, in.words, out.words, 1);
  check(kFine, 1, 64, 2048, copy_in_stages, in.words, out.words, 2);
}

TEST_CASE("race: ldmatrix reads the rows that its lanes name") {
  Buffer out;
  uint32_t* const to = reinterpret_cast<uint32_t*>(out.words);
  check({"reads 4 bytes of shared memory", "has written"}, 1, 32, 128, load_tile, to,
        Between::shuffle);
  check(kFine, 1, 32, 128, load_tile, to, Between::warp_barrier);
}

TEST_CASE("race: a bulk copy writes until its barrier's phase ends, for who waits for that") {
  Buffer in, out;
  const auto copies = [&](const std::vector<const char*>& words, Mistake mistake) {
    CAPTURE(int(mistake));
    const int n_tiles = mistake == Mistake::never_releases ? 2 : 5;
    check(words, 1, 64, 128 * 4 + 16, copy_in_bulk, in.words, out.words, n_tiles, mistake);
  };
  copies(kFine, Mistake::none);
  copies({"barrier"}, Mistake::no_barrier_after_init);  // in one order: used before it is one
  copies({"reads 4 bytes", "still copies to"}, Mistake::barrier_for_wait);
  copies({"race: "}, Mistake::never_releases);
  copies({"race: "}, Mistake::one_waits);
}

TEST_CASE("race: a product of a warpgroup reads its tiles until it is waited for") {
  Buffer out;
  float* const to = reinterpret_cast<float*>(out.words);
  const auto multiplies = [&](const std::vector<const char*>& words, bool orders_tiles, Wait wait) {
    CAPTURE(int(wait));
    check(words, 1, 128, 24576, multiply, to, orders_tiles, wait);
  };
  multiplies(kFine, true, Wait::before_barrier);
  multiplies({"race: ", "16 bytes of shared memory"}, false, Wait::before_barrier);
  for (const Wait wait : {Wait::after_write, Wait::after_next_barrier}) {
    multiplies({"writes 16 bytes of shared memory", "a product of warp", "still reads"}, true,
               wait);
  }
  multiplies({"writes 16 bytes of shared memory", "a product of warp 3"}, true, Wait::of_one_warp);
}
