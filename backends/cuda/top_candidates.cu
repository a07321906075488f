// The largest logits of a row. A logit and its id are one integer that orders as the candidates do
// (no two are equal), so the k largest are those above a threshold that is found bit by bit. First
// each segment of a row gives its own k largest, then those of all segments compete.
#include <algorithm>
#include <limits>

#include "backends/cuda/launch.h"
#include "backends/cuda/ops.h"
#include "backends/cuda/ptx.cuh"
#include "backends/cuda/reduce.cuh"
#include "backends/op_checks.h"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

constexpr int kThreads = 512, kWarps = kThreads / 32;
constexpr int kKeysOfThread = 8;
constexpr int kSegment = kThreads * kKeysOfThread;  // logits
constexpr int kRowsAtOnce = 64;

struct Params {
  const float* logits;
  int64_t logit_stride, n_vocab;
  int k, n_segments, id_bits;
  uint64_t* keys;  // [rows, n_segments, k], 0: none
  float2* sums;    // [rows, n_segments]: the largest logit m, Σ exp(logit - m)
  int32_t* ids;
  float *values, *totals;
  int64_t id_stride, value_stride, total_stride;
};

__device__ float bounded(float logit) {
  if (isnan(logit)) return -INFINITY;
  return fminf(logit, 3.402823466e38f);
}

// Larger numbers have larger keys; -inf has a key above 0.
__device__ uint32_t key_of(float x) {
  const uint32_t bits = __float_as_uint(x);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ float number_of(uint32_t key) {
  return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7FFFFFFFu : ~key);
}

struct alignas(8) BlockScratch {  // 64-bit keys follow it
  int counts[2][kWarps];
  float parts[2][kWarps];
  int n_kept;
};

// How many keys of the block are at least `least`; `turn` alternates between calls.
__device__ int block_count(const uint64_t (&keys)[kKeysOfThread], uint64_t least, int turn,
                           BlockScratch& scratch) {
  int count = 0;
#pragma unroll
  for (const uint64_t key : keys) count += key >= least ? 1 : 0;
  for (int distance = 16; distance > 0; distance /= 2) {
    count += __shfl_xor_sync(~0u, count, distance);
  }
  int* const counts = scratch.counts[turn];
  if (threadIdx.x % 32 == 0) counts[threadIdx.x / 32] = count;
  __syncthreads();
  int all = 0;
  for (int warp = 0; warp < kWarps; ++warp) all += counts[warp];
  return all;
}

// Writes the k largest keys of the block to `out`, in no order, and 0 where there are fewer.
__device__ void keep_largest(const uint64_t (&keys)[kKeysOfThread], int k, int n_bits,
                             BlockScratch& scratch, uint64_t* out) {
  if (threadIdx.x == 0) scratch.n_kept = 0;
  uint64_t threshold = 0;
  for (int bit = n_bits - 1; bit >= 0; --bit) {
    const uint64_t least = threshold | uint64_t{1} << bit;
    const int count = block_count(keys, least, bit % 2, scratch);
    if (count >= k) threshold = least;
    if (count == k) break;
  }
  for (int i = int(threadIdx.x); i < k; i += kThreads) out[i] = 0;
  __syncthreads();
#pragma unroll
  for (const uint64_t key : keys) {
    if (key != 0 && key >= threshold) out[atomicAdd(&scratch.n_kept, 1)] = key;
  }
}

// One block for each segment and row. 4 bytes and about 60 integer operations of a logit.
__global__ void __launch_bounds__(kThreads) top_of_segments(Params p) {
  wait_for_previous_kernel();
  allow_next_kernel();
  LM_SHARED(BlockScratch, scratch);
  const int64_t row = blockIdx.y;
  const int segment = int(blockIdx.x);
  const float* const logits = p.logits + row * p.logit_stride;
  uint64_t keys[kKeysOfThread];
  float numbers[kKeysOfThread];
  float max = -INFINITY;
#pragma unroll
  for (int j = 0; j < kKeysOfThread; ++j) {
    const int64_t id = int64_t(segment) * kSegment + j * kThreads + int(threadIdx.x);
    const bool inside = id < p.n_vocab;
    numbers[j] = inside ? bounded(logits[id]) : -INFINITY;
    const uint64_t rank = (uint64_t{1} << p.id_bits) - 1 - uint64_t(id);
    keys[j] = inside ? uint64_t(key_of(numbers[j])) << p.id_bits | rank : 0;
    max = fmaxf(max, numbers[j]);
  }
  max = block_max(max, scratch->parts[0], int(threadIdx.x), kThreads);
  float sum = 0;
#pragma unroll
  for (const float number : numbers) sum += max > -INFINITY ? expf(number - max) : 0;
  sum = block_sum(sum, scratch->parts[1], int(threadIdx.x), kThreads);
  const int64_t at = row * p.n_segments + segment;
  if (threadIdx.x == 0) p.sums[at] = make_float2(max, sum);
  keep_largest(keys, p.k, 32 + p.id_bits, *scratch, p.keys + at * p.k);
}

// One block for each row: the largest of the segments' keys, sorted by counting who is larger.
__global__ void __launch_bounds__(kThreads) top_of_row(Params p) {
  wait_for_previous_kernel();
  allow_next_kernel();
  LM_SHARED(BlockScratch, scratch);
  uint64_t* const best = reinterpret_cast<uint64_t*>(scratch + 1);  // [k]
  const int64_t row = blockIdx.x;
  const uint64_t* const candidates = p.keys + row * p.n_segments * p.k;
  const int n = p.n_segments * p.k;
  for (int i = int(threadIdx.x); i < p.k; i += kThreads) best[i] = 0;
  for (int begin = 0; begin < n; begin += kSegment - p.k) {
    __syncthreads();
    uint64_t keys[kKeysOfThread];
#pragma unroll
    for (int j = 0; j < kKeysOfThread; ++j) {  // the best so far, then the next ones
      const int i = j * kThreads + int(threadIdx.x), next = begin + i - p.k;
      keys[j] = i < p.k ? best[i] : next < n ? candidates[next] : 0;
    }
    __syncthreads();
    keep_largest(keys, p.k, 32 + p.id_bits, *scratch, best);
  }
  __syncthreads();
  for (int i = int(threadIdx.x); i < p.k; i += kThreads) {
    int rank = 0;
    for (int j = 0; j < p.k; ++j) {  // only those are equal that were not found
      rank += best[j] > best[i] || (best[j] == best[i] && j < i) ? 1 : 0;
    }
    const bool found = best[i] != 0;
    const uint64_t mask = (uint64_t{1} << p.id_bits) - 1;
    p.ids[row * p.id_stride + rank] = found ? int32_t(mask - (best[i] & mask)) : -1;
    p.values[row * p.value_stride + rank] =
        found ? number_of(uint32_t(best[i] >> p.id_bits)) : -INFINITY;
  }
  if (threadIdx.x == 0) {
    float max = -INFINITY, sum = 0;
    for (int segment = 0; segment < p.n_segments; ++segment) {
      max = fmaxf(max, p.sums[row * p.n_segments + segment].x);
    }
    for (int segment = 0; segment < p.n_segments; ++segment) {
      const float2 part = p.sums[row * p.n_segments + segment];
      sum += part.y * expf(part.x - max);
    }
    p.totals[row * p.total_stride] = max;
    p.totals[row * p.total_stride + 1] = logf(sum);
  }
}

int segments_of(int64_t n_vocab) {
  return int((n_vocab + kSegment - 1) / kSegment);
}

}  // namespace

size_t sampling_scratch_bytes(const StepLimits& limits) {
  const size_t n = size_t(kRowsAtOnce) * size_t(segments_of(limits.max_linear_out));
  return n * (kMostCandidates * sizeof(uint64_t) + sizeof(float2));
}

void top_candidates(const Context& context, const TopCandidates& op) {
  const int64_t n = op.logits.rows(), n_vocab = op.logits.cols(), k = op.ids.cols();
  check_shapes(op);
  LM_CHECK(n_vocab <= std::numeric_limits<int32_t>::max());
  int id_bits = 1;
  while (int64_t{1} << id_bits < n_vocab) ++id_bits;
  const int n_segments = segments_of(n_vocab);
  const size_t all_keys = size_t(kRowsAtOnce) * size_t(n_segments) * size_t(k);
  auto* const keys = reinterpret_cast<uint64_t*>(context.memory(Scratch::sampling));
  const size_t shared = sizeof(BlockScratch) + size_t(k) * sizeof(uint64_t);
  for (int64_t row = 0; row < n; row += kRowsAtOnce) {
    const unsigned rows = unsigned(std::min<int64_t>(kRowsAtOnce, n - row));
    const Params params = {
        .logits = f32(op.logits) + row * f32_stride(op.logits),
        .logit_stride = f32_stride(op.logits),
        .n_vocab = n_vocab,
        .k = int(k),
        .n_segments = n_segments,
        .id_bits = id_bits,
        .keys = keys,
        .sums = reinterpret_cast<float2*>(keys + all_keys),
        .ids = reinterpret_cast<int32_t*>(op.ids.data() + row * op.ids.row_bytes),
        .values = f32(op.values) + row * f32_stride(op.values),
        .totals = f32(op.totals) + row * f32_stride(op.totals),
        .id_stride = op.ids.row_bytes / 4,
        .value_stride = f32_stride(op.values),
        .total_stride = f32_stride(op.totals)};
    launch(context, top_of_segments,
           {.blocks = dim3(unsigned(n_segments), rows),
            .threads = dim3(kThreads),
            .shared_bytes = shared},
           params);
    launch(context, top_of_row,
           {.blocks = dim3(rows), .threads = dim3(kThreads), .shared_bytes = shared}, params);
  }
}

}  // namespace lm::cuda
