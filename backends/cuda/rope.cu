// Rotary embedding (arXiv:2104.09864), in place.
#include "backends/cuda/launch.h"
#include "backends/cuda/ops.h"
#include "backends/cuda/ptx.cuh"
#include "backends/cuda/rope.cuh"
#include "backends/op_checks.h"

namespace lm::cuda {
namespace {

constexpr int kThreads = 64;
constexpr int kHeadsPerThread = 4;  // that turn by one angle

struct RopeParams {
  float *q, *k;
  int64_t q_stride, k_stride;  // floats between heads
  const int32_t* positions;
  RopeTable table;
  int n_heads, n_kv_heads;
};

// Threads are frequencies; blockIdx.y is a few heads of q and k. Bytes: 8 a number.
__global__ void rope_kernel(RopeParams p) {
  wait_for_previous_kernel();
  allow_next_kernel();
  const int64_t row = blockIdx.x;
  const int first = int(blockIdx.y) * kHeadsPerThread;
  const int last = min(first + kHeadsPerThread, p.n_heads + p.n_kv_heads);
  for (int i = int(threadIdx.x); i < p.table.n_freqs; i += kThreads) {
    const Turn turn = turn_of(p.table, i, p.positions[row]);
    const int x0 = p.table.first_of(i), x1 = p.table.second_of(i);
    for (int head = first; head < last; ++head) {
      float* x = head < p.n_heads ? p.q + (row * p.n_heads + head) * p.q_stride
                                  : p.k + (row * p.n_kv_heads + head - p.n_heads) * p.k_stride;
      const float2 y = turned(x[x0], x[x1], turn);
      x[x0] = y.x;
      x[x1] = y.y;
    }
  }
}

}  // namespace

void rope(const Context& context, const Rope& op, const StepView& step) {
  check_shapes(op, step);
  const int64_t n = op.q.shape[1], n_freqs = op.inv_freq.rows() * op.inv_freq.cols();
  const RopeParams params = {.q = f32(op.q),
                             .k = op.k ? f32(op.k) : nullptr,
                             .q_stride = f32_stride(op.q),
                             .k_stride = op.k ? f32_stride(op.k) : 0,
                             .positions = i32(step.positions),
                             .table = {.inv_freq = f32(op.inv_freq),
                                       .n_freqs = int(n_freqs),
                                       .neox = op.neox,
                                       .magnitude = op.magnitude},
                             .n_heads = int(op.q.shape[2]),
                             .n_kv_heads = op.k ? int(op.k.shape[2]) : 0};
  const int heads = params.n_heads + params.n_kv_heads;
  launch(context, rope_kernel,
         {.blocks = dim3(unsigned(n), unsigned((heads + kHeadsPerThread - 1) / kHeadsPerThread)),
          .threads = dim3(kThreads)},
         params);
}

}  // namespace lm::cuda
