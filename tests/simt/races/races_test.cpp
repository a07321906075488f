// Kernels with data races, each beside one without, and what is said of them. All of them give the
// right numbers under some order of threads.
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "backends/cuda/hopper/ptx.cuh"
#include "tests/simt/races/check_kernel.h"

namespace {

using namespace simt;
namespace hopper = lm::cuda::hopper;

// Reads what the thread has written whose number differs in the bits of `distance`.
__global__ void trade(int* out, int distance, Between between) {
  LM_SHARED(int, numbers);
  numbers[threadIdx.x] = int(threadIdx.x);
  put(between);
  out[threadIdx.x] = numbers[int(threadIdx.x) ^ distance];
}

// Numbers that are read by the neighbour before they are written again.
__global__ void shift(int* out, Between between) {
  LM_SHARED(int, numbers);
  numbers[threadIdx.x] = int(threadIdx.x);
  for (int i = 0; i < 3; ++i) {
    __syncthreads();
    const int next = numbers[(threadIdx.x + 1) % blockDim.x];
    put(between);
    numbers[threadIdx.x] = next;
  }
  out[threadIdx.x] = numbers[threadIdx.x];
}

// All lanes read what lane 0 has written, and it writes again.
__global__ void broadcast(int* out, Between between) {
  LM_SHARED(int, number);
  for (int i = 0; i < 3; ++i) {
    if (threadIdx.x == 0) *number = i;
    __syncwarp();
    out[threadIdx.x] = *number;
    put(between);
  }
}

__global__ void write_bytes(int8_t* out) {
  LM_SHARED(int8_t, bytes);
  bytes[threadIdx.x] = int8_t(threadIdx.x);
  out[blockIdx.x * blockDim.x + threadIdx.x] = bytes[threadIdx.x];
}

__global__ void write_same_word(int* out, bool atomically) {
  if (threadIdx.x != 0) return;
  if (atomically) {
    atomicAdd(out, 1);
  } else {
    *out = 1;
  }
}

__global__ void read_of_other_block(int* words) {
  if (threadIdx.x == 0) words[blockIdx.x] = words[(blockIdx.x + 1) % gridDim.x];
}

__global__ void read_a_counter(int* counter, int* out) {
  atomicAdd(counter, 1);
  if (threadIdx.x == 33) *out = *counter;
}

__global__ void trade_in_memory(int* words, int* out, Between between) {
  words[threadIdx.x] = int(threadIdx.x);
  put(between);
  out[threadIdx.x] = words[threadIdx.x ^ 32];
}

// The last block adds what the blocks have left in memory.
enum class Fence { none, of_one, of_all, after_atomic };
__global__ void add_in_last_block(int* parts, unsigned* n_done, int* sum, Fence fence) {
  LM_SHARED(bool, is_last);
  parts[blockIdx.x * blockDim.x + threadIdx.x] = int(threadIdx.x);
  if (fence == Fence::of_all) __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    if (fence == Fence::of_one) __threadfence();
    *is_last = atomicInc(n_done, gridDim.x - 1) == gridDim.x - 1;
    if (fence == Fence::after_atomic) __threadfence();
  }
  __syncthreads();
  if (!*is_last) return;
  int of_thread = 0;
  for (unsigned b = 0; b < gridDim.x; ++b) of_thread += parts[b * blockDim.x + threadIdx.x];
  atomicAdd(sum, of_thread);
  if (threadIdx.x == 0) *n_done = 0;
}

// Warps read what warp 0 writes again when those from `first` on have let it; a lane of each reads
// it twice, the second time after it has let go where `again`.
__global__ void let_go(int* out, int first, int reader_of_warp, bool again) {
  LM_SHARED(int, tile);
  uint64_t* const empty = reinterpret_cast<uint64_t*>(tile + 2);
  if (threadIdx.x == 0) {
    hopper::init_barrier(empty, 32u * unsigned(int(blockDim.x) / 32 - first));
    *tile = 1;
  }
  __syncthreads();
  const int warp = int(threadIdx.x) / 32;
  if (warp == 0) {
    hopper::wait(empty, 0);
    if (threadIdx.x == 0) *tile = 2;
    return;
  }
  const bool reads = reader_of_warp < 0 || int(threadIdx.x) % 32 == reader_of_warp;
  if (reads) out[threadIdx.x] = *tile;
  if (warp >= first) hopper::arrive(empty);
  if (again && threadIdx.x == 75) out[threadIdx.x] += *tile;
}

// Blocks read a word that the last of them writes; block `late` reads it when it has let go, and in
// block `alone` one thread lets go for others that nothing has put in order before it.
__global__ void read_and_release(int* word, unsigned* n_done, int* out, int late, int alone) {
  const bool in_time = int(blockIdx.x) != late;
  int* const to = out + blockIdx.x * blockDim.x + threadIdx.x;
  if (in_time) *to = *word;
  if (int(blockIdx.x) != alone) __syncthreads();
  if (threadIdx.x != 0) return;
  __threadfence();
  const bool is_last = atomicInc(n_done, gridDim.x - 1) == gridDim.x - 1;
  if (!in_time) *to = *word;
  if (is_last) *word = 5;
}

}  // namespace

TEST_CASE("race: only barriers order shared memory, not what lanes exchange") {
  Buffer out;
  const auto exchanges = [&](const std::vector<const char*>& words, int distance, Between between) {
    CAPTURE(int(between));
    check(words, 1, 64, 256, trade, out.words, distance, between);
  };
  for (const Between between :
       {Between::nothing, Between::shuffle, Between::vote, Between::product, Between::half_warps}) {
    exchanges({"race: ", "4 bytes of shared memory at offset"}, 31, between);
  }
  exchanges(kFine, 31, Between::warp_barrier);
  exchanges(kFine, 15, Between::half_warps);
  exchanges({"race: "}, 32, Between::warp_barrier);
  exchanges(kFine, 32, Between::block_barrier);
  exchanges(kFine, 0, Between::nothing);
}

TEST_CASE("race: a number that is written again while others still read it") {
  Buffer out;
  check({"race: "}, 1, 64, 256, shift, out.words, Between::warp_barrier);
  check(kFine, 1, 64, 256, shift, out.words, Between::block_barrier);
  check({"race: "}, 1, 32, 256, broadcast, out.words, Between::shuffle);
  check(kFine, 1, 32, 256, broadcast, out.words, Between::warp_barrier);
}

TEST_CASE("race: bytes of one word are apart") {
  Buffer out;
  check(kFine, 3, 100, 100, write_bytes, reinterpret_cast<int8_t*>(out.words));
}

TEST_CASE("race: memory that threads of two blocks, or of one without a barrier, touch") {
  Buffer words, out;
  check({"writes 4 bytes of memory", "thread (0,0,0) of block ("}, 2, 32, 0, write_same_word,
        words.words, false);
  check(kFine, 3, 32, 0, write_same_word, words.words, true);
  check({"race: ", "of block ("}, 3, 32, 0, read_of_other_block, words.words);
  check(kFine, 1, 32, 0, read_of_other_block, words.words);
  check({"race: ", "(atomic)"}, 1, 64, 0, read_a_counter, words.words, out.words);
  check({"race: "}, 1, 64, 0, trade_in_memory, words.words, out.words, Between::nothing);
  check({"race: "}, 1, 64, 0, trade_in_memory, words.words, out.words, Between::warp_barrier);
  check(kFine, 1, 64, 0, trade_in_memory, words.words, out.words, Between::block_barrier);
}

TEST_CASE("race: the last block reads what others wrote before a fence and an atomic operation") {
  Buffer parts;
  int sum = 0;
  unsigned n_done = 0;
  for (const Fence fence : {Fence::of_one, Fence::of_all}) {
    sum = 0;
    check(kFine, 4, 64, 4, add_in_last_block, parts.words, &n_done, &sum, fence);
    CHECK(sum == 3 * 4 * 63 * 32);  // under three orders
  }
  for (const Fence fence : {Fence::none, Fence::after_atomic}) {
    check({"reads 4 bytes of memory", "no fence and atomic operation order the two blocks"}, 4, 64,
          4, add_in_last_block, parts.words, &n_done, &sum, fence);
  }
}

TEST_CASE("race: each of a word's readers counts, not the last of them") {
  Buffer out;
  const auto lets_go = [&](const std::vector<const char*>& words, int n_warps, int first,
                           int reader_of_warp, bool again) {
    CAPTURE(n_warps);
    CAPTURE(first);
    CAPTURE(reader_of_warp);
    check(words, 1, unsigned(32 * n_warps), 16, let_go, out.words, first, reader_of_warp, again);
  };
  for (const int n_warps : {4, 8}) {
    for (const int reader : {-1, 0, 9}) {
      lets_go(kFine, n_warps, 1, reader, false);
      for (int first = 2; first < n_warps; ++first) {
        lets_go({"race: ", "4 bytes of shared memory at offset 0"}, n_warps, first, reader, false);
      }
    }
  }
  lets_go({"race: ", "thread (75,0,0)"}, 4, 1, -1, true);
}

TEST_CASE("race: readers of several blocks count") {
  Buffer word, out;
  unsigned n_done = 0;
  const auto reads = [&](const std::vector<const char*>& words, unsigned n_blocks, int late,
                         int alone) {
    CAPTURE(n_blocks);
    CAPTURE(late);
    CAPTURE(alone);
    n_done = 0;
    check(words, n_blocks, 64, 0, read_and_release, word.words, &n_done, out.words, late, alone);
  };
  for (const unsigned n_blocks : {2u, 5u, 40u}) reads(kFine, n_blocks, -1, -1);
  for (const int block : {1, 2, 3}) {  // none of them is the last
    reads({"race: ", "of block ("}, 5, block, -1);
    reads({"race: ", "of block ("}, 5, -1, block);
  }
  reads({"race: ", "of block ("}, 40, 20, -1);
}

TEST_CASE("race: a message names both threads, their lines and the barrier") {
  Buffer out;
  simt::set_race_detection(true);
  const simt::ErrorCollector errors;
  CHECK(run_kernel(1, 64, 256, shift, out.words, Between::nothing) == cudaErrorLaunchFailure);
  CHECK(
      errors.has("shift(int*, simt::Between), block (0,0,0), thread (33,0,0): race: "
                 "writes 4 bytes of shared memory at offset 132 at races_test.cpp:"));
  CHECK(errors.has(", which thread (32,0,0) has read at races_test.cpp:"));
  CHECK(errors.has("; both behind the barrier at races_test.cpp:"));
  simt::set_race_detection(false);
  CHECK(run_kernel(1, 64, 256, shift, out.words, Between::nothing) == cudaSuccess);
}

TEST_CASE("race: global memory is named by its allocation") {
  int* words = nullptr;
  REQUIRE(cudaMalloc(&words, 400) == cudaSuccess);
  check({"of global memory at offset 8 of 400 bytes"}, 2, 32, 0, write_same_word, words + 2, false);
  CHECK(cudaFree(words) == cudaSuccess);
}
