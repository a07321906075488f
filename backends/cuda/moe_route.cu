// Which experts a row goes to, and with what weights.
#include "backends/cuda/launch.h"
#include "backends/cuda/ops.h"
#include "backends/cuda/ptx.cuh"
#include "backends/cuda/reduce.cuh"
#include "backends/op_checks.h"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

constexpr int kMostExperts = 32 * kWarp;  // a lane marks those it has taken in 32 bits

struct MoeRouteParams {
  const float *logits, *bias;  // bias may be nullptr
  int32_t* ids;
  float* weights;
  int64_t logits_stride, ids_stride, weights_stride;
  int n_experts, top_k;
  bool sigmoid, normalise;
  float scale;
};

// scores = softmax or sigmoid of the logits; lane i writes and reads experts i, i + 32, ...
__device__ void score_experts(const MoeRouteParams& p, const float* logits, float* scores) {
  const int lane = int(threadIdx.x);
  if (p.sigmoid) {
    for (int e = lane; e < p.n_experts; e += kWarp) scores[e] = 1.0f / (1.0f + expf(-logits[e]));
    return;
  }
  float m = -INFINITY, l = 0;
  for (int e = lane; e < p.n_experts; e += kWarp) m = fmaxf(m, logits[e]);
  m = warp_max(m);
  for (int e = lane; e < p.n_experts; e += kWarp) {
    scores[e] = expf(logits[e] - m);
    l += scores[e];
  }
  l = warp_sum(l);
  for (int e = lane; e < p.n_experts; e += kWarp) scores[e] /= l;
}

struct Choice {
  float score;
  int expert;  // -1: none
};

// Of equal scores the lower index.
__device__ inline Choice better(Choice a, Choice b) {
  if (b.expert < 0) return a;
  if (a.expert < 0 || b.score > a.score) return b;
  return b.score == a.score && b.expert < a.expert ? b : a;
}

// The best expert that no lane has taken, the same in every lane.
__device__ Choice choose(const MoeRouteParams& p, const float* scores, uint32_t taken) {
  const int lane = int(threadIdx.x);
  Choice best = {0, -1};
  for (int e = lane; e < p.n_experts; e += kWarp) {
    if ((taken >> (e / kWarp) & 1) != 0) continue;
    best = better(best, {scores[e] + (p.bias != nullptr ? p.bias[e] : 0.0f), e});
  }
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    const Choice other = {__shfl_down_sync(kAllLanes, best.score, unsigned(lanes)),
                          __shfl_down_sync(kAllLanes, best.expert, unsigned(lanes))};
    best = better(best, other);
  }
  return {__shfl_sync(kAllLanes, best.score, 0), __shfl_sync(kAllLanes, best.expert, 0)};
}

// A warp for a row. Bytes and flops: none to speak of.
__global__ void moe_route_kernel(MoeRouteParams p) {
  LM_SHARED(float, scores);
  wait_for_previous_kernel();
  allow_next_kernel();
  const int64_t row = blockIdx.x;
  const int lane = int(threadIdx.x);
  score_experts(p, p.logits + row * p.logits_stride, scores);
  __syncwarp();
  int32_t* ids = p.ids + row * p.ids_stride;
  float* weights = p.weights + row * p.weights_stride;
  uint32_t taken = 0;
  float sum = 0;
  for (int j = 0; j < p.top_k; ++j) {
    const int expert = choose(p, scores, taken).expert;
    if (expert % kWarp == lane) taken |= 1u << (expert / kWarp);
    sum += scores[expert];
    if (lane == 0) ids[j] = expert;
  }
  const float factor = p.normalise ? p.scale / sum : p.scale;
  if (lane == 0) {
    for (int j = 0; j < p.top_k; ++j) weights[j] = scores[ids[j]] * factor;
  }
}

}  // namespace

void moe_route(const Context& context, const MoeRoute& op) {
  const int64_t n = op.logits.rows(), n_experts = op.logits.cols();
  check_shapes(op);
  LM_CHECK(n_experts <= kMostExperts);
  const MoeRouteParams params = {.logits = f32(op.logits),
                                 .bias = op.bias ? f32(op.bias) : nullptr,
                                 .ids = reinterpret_cast<int32_t*>(op.ids.data()),
                                 .weights = f32(op.weights),
                                 .logits_stride = f32_stride(op.logits),
                                 .ids_stride = op.ids.row_bytes / 4,
                                 .weights_stride = f32_stride(op.weights),
                                 .n_experts = int(n_experts),
                                 .top_k = op.top_k,
                                 .sigmoid = op.sigmoid,
                                 .normalise = op.normalise,
                                 .scale = op.scale};
  launch(context, moe_route_kernel,
         {.blocks = dim3(unsigned(n)),
          .threads = dim3(kWarp),
          .shared_bytes = size_t(n_experts) * sizeof(float)},
         params);
}

}  // namespace lm::cuda
