// Activations to integers (quantized_rows.cuh), alone or behind an RMSNorm.
#include "backends/cuda/launch.h"
#include "backends/cuda/ptx.cuh"
#include "backends/cuda/quantize.h"
#include "backends/cuda/reduce.cuh"

namespace lm::cuda {
namespace {

constexpr int kGroupsPerBlock = 8;

// Grid: groups of the padded row, rows of x. A warp a group. Bytes: 5 a number.
__global__ void quantize_kernel(const float* x, int64_t x_stride, int k, QuantizedRows rows,
                                RowOrder order) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const int lane = int(threadIdx.x) % 32;
  const int group = int(blockIdx.x) * kGroupsPerBlock + int(threadIdx.x) / 32;
  const int row = int(blockIdx.y), column = group * kGroup + lane;
  if (group >= rows.n_chunks * 4) return;
  const int64_t from = order.places != nullptr ? order.places[row] / order.divisor : row;
  quantize_group(column < k ? x[from * x_stride + column] : 0.0f, rows, row, group, lane);
}

struct NormParams {
  const float* x;
  const float* weight;
  float* out;
  int64_t x_stride, out_stride;
  int k;
  float eps;
  QuantizedRows rows;
};

// A block a row, as many threads and the same sums as rms_norm. Bytes: 9 a number and the weights.
__global__ void norm_quantize_kernel(NormParams p) {
  LM_SHARED(float, parts);
  allow_next_kernel();
  wait_for_previous_kernel();
  const int thread = int(threadIdx.x), n_threads = int(blockDim.x), row = int(blockIdx.x);
  const float* x = p.x + row * p.x_stride;
  float* out = p.out + row * p.out_stride;
  float squares = 0;
#pragma unroll 8
  for (int i = thread; i < p.k; i += n_threads) squares = fmaf(x[i], x[i], squares);
  const float mean = block_sum(squares, parts, thread, n_threads) / float(p.k);
  const float factor = 1.0f / sqrtf(mean + p.eps);
  const int padded = p.rows.n_chunks * kChunkColumns;
#pragma unroll 4
  for (int i = thread; i < padded; i += n_threads) {
    const float y = i < p.k ? x[i] * factor * p.weight[i] : 0.0f;
    if (i < p.k) out[i] = y;
    quantize_group(y, p.rows, row, i / kGroup, thread % 32);
  }
}

}  // namespace

void quantize_rows(const Context& context, const float* x, int64_t x_stride, int64_t k,
                   const QuantizedRows& rows, const RowOrder& order) {
  const int n_groups = rows.n_chunks * 4;
  launch(context, quantize_kernel,
         {dim3(unsigned((n_groups + kGroupsPerBlock - 1) / kGroupsPerBlock), unsigned(rows.n)),
          dim3(32 * kGroupsPerBlock)},
         x, x_stride, int(k), rows, order);
}

void norm_quantize_rows(const Context& context, const RmsNorm& op, const QuantizedRows& rows) {
  const NormParams params = {.x = f32(op.x),
                             .weight = f32(op.weight),
                             .out = f32(op.out),
                             .x_stride = f32_stride(op.x),
                             .out_stride = f32_stride(op.out),
                             .k = int(op.x.cols()),
                             .eps = op.eps,
                             .rows = rows};
  const int threads = norm_threads(op.x.cols());
  launch(context, norm_quantize_kernel,
         {dim3(unsigned(rows.n)), dim3(unsigned(threads)), size_t(threads / 32) * sizeof(float)},
         params);
}

}  // namespace lm::cuda
