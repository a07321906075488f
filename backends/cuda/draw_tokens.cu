// A token from each row's candidates. They come sorted: what stands before one is all that is
// likelier, and every truncation keeps the first ones.
#include "backends/cuda/launch.h"
#include "backends/cuda/ops.h"
#include "backends/cuda/ptx.cuh"
#include "backends/op_checks.h"
#include "engine/core/philox.h"

namespace lm::cuda {
namespace {

constexpr int kThreads = kMostCandidates;  // one for each

struct DrawParams {
  const int32_t* ids;
  const float* values;
  int64_t id_stride, value_stride;
  int k;
  const DrawRule* rules;
  int32_t* tokens;
};

struct DrawScratch {
  double arrivals[kThreads];
  int32_t ids[kThreads];
  float weights[kThreads];
};

// Whether candidate i is left by all truncations; `before`: the weights of those in front of it.
__device__ bool is_kept(const DrawRule& rule, int i, float value, float max, float before,
                        float total) {
  if (i == 0) return true;
  const bool reached = rule.top_p < 1 && before >= rule.top_p * total;
  return !reached && value > -INFINITY && value >= max + logf(rule.min_p);
}

// When a candidate comes: the first one to do so is drawn.
__device__ double arrival_of(const DrawRule& rule, int i, int32_t id, float value, float max) {
  if (rule.temperature == 0) return i;
  const double u = uniform_noise(rule.seed, NoiseStream::token, rule.position, uint32_t(id));
  return -log1p(-u) / exp(double((value - max) / rule.temperature));
}

// One block for each rule, of which each thread has a candidate. A kilobyte is read; the noise and
// its logarithms are about 300 instructions of a thread.
__global__ void __launch_bounds__(kThreads) draw_kernel(DrawParams p) {
  wait_for_previous_kernel();
  allow_next_kernel();
  LM_SHARED(DrawScratch, scratch);
  const DrawRule rule = p.rules[blockIdx.x];
  const int i = int(threadIdx.x), n = rule.top_k < p.k ? rule.top_k : p.k;
  const float* const values = p.values + rule.row * p.value_stride;
  const int32_t id = i < n ? p.ids[rule.row * p.id_stride + i] : 0x7FFFFFFF;
  const float max = values[0], value = i < n ? values[i] : -INFINITY;
  scratch->weights[i] = expf(value - max);
  __syncthreads();
  float before = 0, total = 0;
  for (int j = 0; j < n; ++j) {
    if (j == i) before = total;
    total += scratch->weights[j];
  }
  const bool kept = i < n && is_kept(rule, i, value, max, before, total);
  scratch->arrivals[i] = kept ? arrival_of(rule, i, id, value, max) : INFINITY;
  scratch->ids[i] = id;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (i >= half) continue;
    const double mine = scratch->arrivals[i], other = scratch->arrivals[i + half];
    const int32_t its_id = scratch->ids[i + half];
    if (!(other < mine || (other == mine && its_id < scratch->ids[i]))) continue;
    scratch->arrivals[i] = other;
    scratch->ids[i] = its_id;
  }
  if (i == 0) p.tokens[blockIdx.x] = scratch->ids[0];
}

}  // namespace

void draw_tokens(const Context& context, const DrawTokens& op) {
  check_shapes(op);
  const DrawParams params = {.ids = i32(op.ids),
                             .values = f32(op.values),
                             .id_stride = op.ids.row_bytes / 4,
                             .value_stride = f32_stride(op.values),
                             .k = int(op.ids.cols()),
                             .rules = reinterpret_cast<const DrawRule*>(op.rules.data()),
                             .tokens = reinterpret_cast<int32_t*>(op.tokens.data())};
  launch(context, draw_kernel,
         {.blocks = dim3(unsigned(op.tokens.cols())),
          .threads = dim3(kThreads),
          .shared_bytes = sizeof(DrawScratch)},
         params);
}

}  // namespace lm::cuda
