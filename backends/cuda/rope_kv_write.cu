// What lies between the projections and attention, in one kernel: the norms of q's and k's heads,
// their rotation, and storing K and V. Bit for bit what the separate operations do.
#include "backends/cuda/attention.h"
#include "backends/cuda/kv_layout.cuh"
#include "backends/cuda/launch.h"
#include "backends/cuda/ops.h"
#include "backends/cuda/ptx.cuh"
#include "backends/cuda/quantize.h"
#include "backends/cuda/reduce.cuh"
#include "backends/cuda/rope.cuh"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

constexpr int kWarps = 4;  // of a block

struct HeadParams {
  float* q;
  const float *k, *v;
  int64_t q_stride, k_stride, v_stride;  // floats between heads
  const float *q_weight, *k_weight;      // or nullptr
  float eps;
  RopeTable table;
  const int32_t *positions, *slots;
  KvCacheView k_cache, v_cache;
  int n, n_heads;
};

// What a warp works on: a head of a row.
struct HeadWork {
  const float* x;
  const float* weight;  // of its norm, or nullptr
  bool turns;
};

__device__ inline float norm_factor(const float* x, int cols, float eps) {
  float squares = 0;
  for (int i = int(threadIdx.x); i < cols; i += kWarp) squares = fmaf(x[i], x[i], squares);
  const float mean = warp_sum(squares) / float(cols);
  return 1.0f / sqrtf(mean + eps);
}

// Dimension d of a head that lies in `x`, turned.
__device__ inline float turned_at(const RopeTable& table, const float* x, int d, int32_t position) {
  if (d >= 2 * table.n_freqs) return x[d];
  const int i = table.pair_of(d), first = table.first_of(i);
  const float2 y = turned(x[first], x[table.second_of(i)], turn_of(table, i, position));
  return d == first ? y.x : y.y;
}

// A warp for each head of q, k and v of a row. Bytes: 8 a number of q; 4 of k and v, and what the
// cache's type takes.
template <class Kv>
__global__ void rope_kv_write_kernel(HeadParams p) {
  LM_SHARED(float, memory);
  wait_for_previous_kernel();
  allow_next_kernel();
  const int head_dim = p.k_cache.head_dim, n_kv_heads = p.k_cache.n_heads;
  const int heads = p.n_heads + 2 * n_kv_heads;
  const int64_t index = int64_t(blockIdx.x) * kWarps + threadIdx.y;
  if (index >= int64_t(p.n) * heads) return;
  const int64_t row = index / heads;
  const int head = int(index % heads), kv_head = (head - p.n_heads) % n_kv_heads;
  const bool is_q = head < p.n_heads, is_k = !is_q && head < p.n_heads + n_kv_heads;
  const HeadWork work =
      is_q   ? HeadWork{p.q + (row * p.n_heads + head) * p.q_stride, p.q_weight, true}
      : is_k ? HeadWork{p.k + (row * n_kv_heads + kv_head) * p.k_stride, p.k_weight, true}
             : HeadWork{p.v + (row * n_kv_heads + kv_head) * p.v_stride, nullptr, false};

  float* x = memory + int(threadIdx.y) * head_dim;
  const float factor = work.weight != nullptr ? norm_factor(work.x, head_dim, p.eps) : 1.0f;
  for (int d = int(threadIdx.x); d < head_dim; d += kWarp) {
    x[d] = work.weight != nullptr ? work.x[d] * factor * work.weight[d] : work.x[d];
  }
  __syncwarp();
  const int32_t position = p.positions[row];
  const KvCacheView& cache = is_k ? p.k_cache : p.v_cache;
  const int32_t slot = p.slots[row], block = slot / cache.block_size;
  if (!is_q && (slot < 0 || block >= cache.n_blocks)) return;
  for (int first = 0; first < head_dim; first += kWarp) {
    const int d = first + int(threadIdx.x);
    const bool valid = d < head_dim;
    float y = 0;
    if (valid) y = work.turns ? turned_at(p.table, x, d, position) : x[d];
    if (is_q) {
      if (valid) p.q[(row * p.n_heads + head) * p.q_stride + d] = y;
    } else {
      Kv::store(cache, cache.head(block, kv_head), slot % cache.block_size, d, y, valid);
    }
  }
}

template <class Kv>
void launch_heads(const Context& context, const HeadParams& p) {
  const int64_t warps = int64_t(p.n) * (p.n_heads + 2 * p.k_cache.n_heads);
  launch(context, rope_kv_write_kernel<Kv>,
         {.blocks = dim3(unsigned((warps + kWarps - 1) / kWarps)),
          .threads = dim3(kWarp, kWarps),
          .shared_bytes = size_t(kWarps * p.k_cache.head_dim) * sizeof(float)},
         p);
}

bool is_weight(Tensor t, int64_t cols) {
  return !t || (t.dtype == DType::f32 && t.rows() * t.cols() == cols);
}

}  // namespace

void rope_kv_write(const Context& context, const HeadNorms& norms, const Rope& rope,
                   const KvWrite& write, const StepView& step) {
  const int64_t n = rope.q.shape[1], head_dim = rope.q.shape[3];
  const int64_t n_freqs = rope.inv_freq.rows() * rope.inv_freq.cols();
  LM_CHECK(rope.q.dtype == DType::f32 && rope.q.shape[0] == 1 && 2 * n_freqs <= head_dim);
  LM_CHECK(write.k.dtype == DType::f32 && write.v.dtype == DType::f32);
  LM_CHECK(rope.k.data() == write.k.data() && rope.k.shape == write.k.shape);
  LM_CHECK(write.v.shape == write.k.shape && write.k.shape[1] == n);
  LM_CHECK(write.k_cache.shape[1] == write.k.shape[2] && head_dim <= kMostWarpNormCols);
  LM_CHECK(is_weight(norms.q_weight, head_dim) && is_weight(norms.k_weight, head_dim));
  check_caches(write.k_cache, write.v_cache, head_dim, step);
  const HeadParams params = {.q = f32(rope.q),
                             .k = f32(write.k),
                             .v = f32(write.v),
                             .q_stride = f32_stride(rope.q),
                             .k_stride = f32_stride(write.k),
                             .v_stride = f32_stride(write.v),
                             .q_weight = norms.q_weight ? f32(norms.q_weight) : nullptr,
                             .k_weight = norms.k_weight ? f32(norms.k_weight) : nullptr,
                             .eps = norms.eps,
                             .table = {.inv_freq = f32(rope.inv_freq),
                                       .n_freqs = int(n_freqs),
                                       .neox = rope.neox,
                                       .magnitude = rope.magnitude},
                             .positions = i32(step.positions),
                             .slots = i32(step.slots),
                             .k_cache = view_of(write.k_cache),
                             .v_cache = view_of(write.v_cache),
                             .n = int(n),
                             .n_heads = int(rope.q.shape[2])};
  switch (write.k_cache.dtype) {
    case DType::f32:
      return launch_heads<F32Kv>(context, params);
    case DType::f16:
      return launch_heads<F16Kv>(context, params);
    default:
      return launch_heads<Q8Kv>(context, params);
  }
}

}  // namespace lm::cuda
