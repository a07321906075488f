// Activations to integers (quantized_rows.cuh), alone or behind an RMSNorm.
#include "backends/cuda/input_rows.cuh"
#include "backends/cuda/launch.h"
#include "backends/cuda/ptx.cuh"
#include "backends/cuda/quantize.h"
#include "backends/cuda/reduce.cuh"

namespace lm::cuda {
namespace {

constexpr int kChunksPerBlock = 4;

struct QuantizeParams {
  const float* x;
  int64_t x_stride, k;
  bool aligned;
  QuantizedRows rows;
  RowOrder order;
};

// Grid: chunks, rows. A warp a chunk. Bytes: 5 a number.
__global__ void __launch_bounds__(32 * kChunksPerBlock) quantize_kernel(const QuantizeParams p) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const int lane = int(threadIdx.x) % 32, row = int(blockIdx.y);
  const int chunk = int(blockIdx.x) * kChunksPerBlock + int(threadIdx.x) / 32;
  if (chunk >= p.rows.n_chunks) return;
  const int64_t from = p.order.places != nullptr ? p.order.places[row] / p.order.divisor : row;
  const int64_t column = int64_t(chunk) * kChunkColumns + lane * 4;
  const float4 four[] = {load_four(p.x + from * p.x_stride, column, p.k, p.aligned)};
  quantize_chunks(four, p.rows, row, chunk, 1, lane);
}

// A block a row. Bytes: 9 a number and the weights.
__global__ void __launch_bounds__(kNormThreads)
    norm_quantize_kernel(const InputRows in, const QuantizedRows rows) {
  LM_SHARED(float, parts);
  allow_next_kernel();
  prefetch_norm(in);
  wait_for_previous_kernel();
  quantize_row<1>(in, rows, int(blockIdx.x), true, parts);
}

}  // namespace

void quantize_rows(const Context& context, const float* x, int64_t x_stride, int64_t k,
                   const QuantizedRows& rows, const RowOrder& order) {
  const QuantizeParams params = {x, x_stride, k, rows_aligned(x, x_stride), rows, order};
  launch(context, quantize_kernel,
         {dim3(unsigned((rows.n_chunks + kChunksPerBlock - 1) / kChunksPerBlock), unsigned(rows.n)),
          dim3(32 * kChunksPerBlock)},
         params);
}

void norm_quantize_rows(const Context& context, const InputRows& in, const QuantizedRows& rows) {
  launch(context, norm_quantize_kernel, {dim3(unsigned(rows.n)), dim3(kNormThreads), kNormShared},
         in, rows);
}

InputRows input_of(Tensor x) {
  return {.x = f32(x),
          .stride = f32_stride(x),
          .k = int(x.cols()),
          .aligned = rows_aligned(f32(x), f32_stride(x))};
}

InputRows input_of(const RmsNorm& norm) {
  InputRows in = input_of(norm.x);
  in.norm = f32(norm.weight);
  in.aligned = in.aligned && rows_aligned(in.norm, 0);
  in.eps = norm.eps;
  in.normed = f32(norm.out);
  in.normed_stride = f32_stride(norm.out);
  in.norm_threads = norm_threads(norm.x.cols());
  return in;
}

}  // namespace lm::cuda
