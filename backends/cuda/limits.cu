// Every multiprocessor runs the same loop of loads or of products that do not wait for each other;
// the best of several launches counts, because whatever else runs can only slow one down.
#include <algorithm>

#include "backends/cuda/error.h"
#include "backends/cuda/hopper/limits_hopper.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/limits.h"
#include "backends/cuda/memory.h"
#include "backends/cuda/ptx.cuh"

namespace lm::cuda {
namespace {

constexpr int kRounds = 8;
constexpr int kThreads = 256, kBlocksPerMultiprocessor = 8;
constexpr size_t kMostBytes = size_t{4} << 30;  // far beyond the last cache
constexpr size_t kLeastBytes = size_t{1} << 20;
constexpr int kLoads = 4;     // of 16 bytes that a thread has under way
constexpr int kChains = 4;    // products that do not wait for each other
constexpr int kTurns = 4096;  // of a loop of products

// bytes: 16 n. What was read decides whether something is stored, so nothing can be left out.
__global__ void __launch_bounds__(kThreads)
    read_memory(const uint4* data, int64_t n, uint32_t* out) {
  wait_for_previous_kernel();
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  uint32_t sum = 0;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < n; i += kLoads * stride) {
    uint4 loaded[kLoads] = {};
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      if (i + j * stride < n) loaded[j] = data[i + j * stride];
    }
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      sum += (loaded[j].x ^ loaded[j].y) + (loaded[j].z ^ loaded[j].w);
    }
  }
  if (sum == 0x9E3779B9u) *out = sum;
}

// 2 · 16 · 8 · 32 operations of a warp a turn and chain.
__global__ void __launch_bounds__(kThreads) multiply_bytes(int turns, uint32_t* out) {
  wait_for_previous_kernel();
  const uint32_t seed = threadIdx.x * 0x01010101u;
  const uint32_t a[4] = {seed, seed + 1, seed + 2, seed + 3}, b[2] = {seed + 4, seed + 5};
  int sums[kChains][4] = {};
  for (int turn = 0; turn < turns; ++turn) {
#pragma unroll
    for (int chain = 0; chain < kChains; ++chain) mma_s8(sums[chain], a, b);
  }
  uint32_t sum = 0;
#pragma unroll
  for (int chain = 0; chain < kChains; ++chain) sum += uint32_t(sums[chain][0] ^ sums[chain][3]);
  if (sum == 0x9E3779B9u) *out = sum;
}

// 2 · 16 · 8 · 16 operations of a warp a turn and chain.
__global__ void __launch_bounds__(kThreads) multiply_halves(int turns, uint32_t* out) {
  wait_for_previous_kernel();
  const uint32_t one = 0x3C003C00u;  // two halves
  const uint32_t a[4] = {one, one, one, one + threadIdx.x}, b[2] = {one, one};
  float sums[kChains][4] = {};
  for (int turn = 0; turn < turns; ++turn) {
#pragma unroll
    for (int chain = 0; chain < kChains; ++chain) mma_f16(sums[chain], a, b);
  }
  float sum = 0;
#pragma unroll
  for (int chain = 0; chain < kChains; ++chain) sum += sums[chain][0] + sums[chain][3];
  if (sum == 0.5f) *out = 1;
}

// 2 operations of a thread a turn and chain.
__global__ void __launch_bounds__(kThreads) multiply_floats(int turns, uint32_t* out) {
  wait_for_previous_kernel();
  const float factor = 0.999f + float(threadIdx.x) * 1e-9f;
  float sums[2 * kChains] = {};
  for (int turn = 0; turn < turns; ++turn) {
#pragma unroll
    for (float& sum : sums) sum = fmaf(sum, factor, 1);
  }
  float sum = 0;
#pragma unroll
  for (const float part : sums) sum += part;
  if (sum == 0.5f) *out = 1;
}

// Two events, destroyed with the object.
class Stopwatch {
 public:
  explicit Stopwatch(const Context& context) : context_(context) {
    for (cudaEvent_t& event : events_) context_.note(cudaEventCreate(&event));
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch() {
    for (cudaEvent_t event : events_) cudaEventDestroy(event);
  }
  // Seconds that the device took for what `enqueue` enqueues.
  template <class Enqueue>
  double time(const Enqueue& enqueue) {
    context_.note(cudaEventRecord(events_[0], context_.stream));
    enqueue();
    context_.note(cudaEventRecord(events_[1], context_.stream));
    context_.note(cudaEventSynchronize(events_[1]));
    float milliseconds = 0;
    context_.note(cudaEventElapsedTime(&milliseconds, events_[0], events_[1]));
    return double(milliseconds) / 1e3;
  }

 private:
  const Context& context_;
  cudaEvent_t events_[2] = {};
};

template <class Enqueue>
double best_rate(const Context& context, double amount, const Enqueue& enqueue) {
  Stopwatch watch(context);
  double best = 0;
  for (int i = 0; i < kRounds; ++i) {
    best = std::max(best, amount / std::max(watch.time(enqueue), 1e-9));
  }
  return best;
}

}  // namespace

Result<DeviceLimits> measure_limits(const Context& context, Backend& backend) {
  size_t free_bytes = 0, total_bytes = 0;
  LM_TRY(check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for free memory"));
  const size_t bytes = std::clamp(free_bytes / 4, kLeastBytes, kMostBytes) / 16 * 16;
  const std::unique_ptr<Buffer> data = LM_TRY(allocate_buffer(backend, bytes, true));
  const std::unique_ptr<Buffer> out = LM_TRY(allocate_buffer(backend, sizeof(uint32_t), true));
  auto* const sink = reinterpret_cast<uint32_t*>(out->base());
  const int n_blocks = kBlocksPerMultiprocessor * context.facts.n_multiprocessors;
  const Grid grid{.blocks = dim3(unsigned(n_blocks)), .threads = dim3(kThreads)};
  const double threads = double(n_blocks) * kThreads, warps = threads / 32;

  DeviceLimits limits;
  limits.isa = context.facts.architecture;
  limits.read_bytes_per_second = best_rate(context, double(bytes), [&] {
    launch(context, read_memory, grid, reinterpret_cast<const uint4*>(data->base()),
           int64_t(bytes / 16), sink);
  });
  limits.int8_ops_per_second = best_rate(context, warps * kTurns * kChains * 2 * 16 * 8 * 32, [&] {
    launch(context, multiply_bytes, grid, kTurns, sink);
  });
  limits.f16_flops_per_second = best_rate(context, warps * kTurns * kChains * 2 * 16 * 8 * 16, [&] {
    launch(context, multiply_halves, grid, kTurns, sink);
  });
  if (context.facts.wgmma) {
    LM_TRY(prepare_wgmma_limits());
    const double rate = best_rate(context, wgmma_flops(context.facts, kTurns),
                                  [&] { multiply_by_wgmma(context, kTurns, sink); });
    limits.f16_flops_per_second = std::max(limits.f16_flops_per_second, rate);
  }
  limits.f32_flops_per_second = best_rate(context, threads * kTurns * kChains * 2 * 2, [&] {
    launch(context, multiply_floats, grid, kTurns, sink);
  });
  LM_TRY(check(*context.first_error, "measuring its limits"));
  return limits;
}

}  // namespace lm::cuda
