// Matrices that lie as in the file: plain numbers at the rate at which they arrive, every other
// type by decoding eight numbers at a time (decode.cuh). A warp a row, f32 throughout; the sum of a
// row is 32 lanes' sums, each in order of the columns, so its bits do not depend on the number of
// rows. Bytes: the matrix once. Flops: 2 a weight and row of x, and what decoding costs.
#include "backends/cuda/decode.cuh"
#include "backends/cuda/gemv_rows.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/ptx.cuh"
#include "backends/cuda/reduce.cuh"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

constexpr int kWarps = 4;  // of a block: rows of the matrix

struct RowsParams {
  const std::byte* weight;
  int64_t row_bytes, m, k;
  DType type;
  const float* x;
  int64_t x_stride;
  int n;
  float* out;
  int64_t out_stride;
  const float* bias;
  bool accumulate;
};

// Eight numbers in one load, of rows whose every eighth number is aligned.
struct EightF16 {
  __device__ static void load(const RowsParams&, const std::byte* row, int64_t i, float (&w)[8]) {
    const uint4 v = load_once(reinterpret_cast<const uint4*>(row) + i);
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
    for (int j = 0; j < 8; ++j) {
      w[j] =
          __half2float(__ushort_as_half(static_cast<unsigned short>(words[j / 2] >> (j % 2 * 16))));
    }
  }
};
struct EightBf16 {
  __device__ static void load(const RowsParams&, const std::byte* row, int64_t i, float (&w)[8]) {
    const uint4 v = load_once(reinterpret_cast<const uint4*>(row) + i);
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
    for (int j = 0; j < 8; ++j) {
      w[j] = __uint_as_float(j % 2 == 0 ? words[j / 2] << 16 : words[j / 2] & 0xFFFF0000u);
    }
  }
};
struct EightOfAny {
  __device__ static void load(const RowsParams& p, const std::byte* row, int64_t i, float (&w)[8]) {
    decode_eight(p.type, row, i, p.k, w);
  }
};

// Eight numbers of x; zeros behind the end.
__device__ inline void load_x(const float* x, int64_t i, int64_t k, float (&v)[8]) {
  for (int j = 0; j < 8; ++j) v[j] = 8 * i + j < k ? x[8 * i + j] : 0.0f;
}

// Grid: rows of the matrix, kWarps a block.
template <class Eight, int kRows>
__global__ void __launch_bounds__(32 * kWarps) gemv_rows_kernel(const RowsParams p) {
  allow_next_kernel();
  const int lane = int(threadIdx.x) % 32;
  const int64_t row = int64_t(blockIdx.x) * kWarps + threadIdx.x / 32;
  wait_for_previous_kernel();
  if (row >= p.m) return;
  const std::byte* weights = p.weight + row * p.row_bytes;
  float sums[kRows] = {};
  const int64_t n_eights = (p.k + 7) / 8;
#pragma unroll 2
  for (int64_t i = lane; i < n_eights; i += 32) {
    float w[8];
    Eight::load(p, weights, i, w);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r >= p.n) break;
      float v[8];
      load_x(p.x + r * p.x_stride, i, p.k, v);
      for (int j = 0; j < 8; ++j) sums[r] = fmaf(w[j], v[j], sums[r]);
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (r >= p.n) break;
    float sum = warp_sum(sums[r]);
    if (lane != 0) continue;
    if (p.bias != nullptr) sum += p.bias[row];
    float* out = p.out + r * p.out_stride + row;
    *out = p.accumulate ? *out + sum : sum;
  }
}

struct ExpertParams {
  RowsParams rows;  // of expert 0; n = 1
  ExpertGemv op;
};

// Grid: rows of a matrix, kWarps a block; places.
__global__ void __launch_bounds__(32 * kWarps) expert_gemv_kernel(const ExpertParams p) {
  wait_for_previous_kernel();
  allow_next_kernel();
  const int64_t row = int64_t(blockIdx.x) * kWarps + threadIdx.x / 32, position = blockIdx.y;
  if (row >= p.rows.m) return;
  const int64_t place = p.op.order != nullptr ? p.op.order[position] : position;
  const int64_t expert = p.op.ids[place];
  const int64_t from = p.op.x_by_position ? position : place / p.op.x_divisor;
  const float* x = p.op.x + from * p.op.x_stride;
  const std::byte* weights = p.rows.weight + (expert * p.rows.m + row) * p.rows.row_bytes;
  float sum = 0;
  for (int64_t i = threadIdx.x % 32; i < (p.rows.k + 7) / 8; i += 32) {
    float w[8], v[8];
    EightOfAny::load(p.rows, weights, i, w);
    load_x(x, i, p.rows.k, v);
    for (int j = 0; j < 8; ++j) sum = fmaf(w[j], v[j], sum);
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 != 0) return;
  if (p.rows.bias != nullptr) sum += p.rows.bias[expert * p.rows.m + row];
  p.op.out[position * p.rows.m + row] = sum;
}

template <class Eight>
void launch_rows(const Context& context, const RowsParams& p) {
  const Grid grid = {dim3(unsigned((p.m + kWarps - 1) / kWarps)), dim3(32 * kWarps)};
  if (p.n == 1) {
    launch(context, gemv_rows_kernel<Eight, 1>, grid, p);
  } else {
    launch(context, gemv_rows_kernel<Eight, kMostDecodeRows>, grid, p);
  }
}

}  // namespace

void gemv_rows(const Context& context, const Linear& op) {
  LM_CHECK(op.weight.layout == 0 && op.x.rows() <= kMostDecodeRows);
  const RowsParams params = {.weight = op.weight.data(),
                             .row_bytes = op.weight.row_bytes,
                             .m = op.weight.rows(),
                             .k = op.weight.cols(),
                             .type = op.weight.dtype,
                             .x = f32(op.x),
                             .x_stride = f32_stride(op.x),
                             .n = int(op.x.rows()),
                             .out = f32(op.out),
                             .out_stride = f32_stride(op.out),
                             .bias = op.bias ? f32(op.bias) : nullptr,
                             .accumulate = op.accumulate};
  const bool aligned = params.k % 8 == 0 && params.row_bytes % 16 == 0;
  if (aligned && params.type == DType::f16) {
    launch_rows<EightF16>(context, params);
  } else if (aligned && params.type == DType::bf16) {
    launch_rows<EightBf16>(context, params);
  } else {
    launch_rows<EightOfAny>(context, params);
  }
}

void expert_gemv(const Context& context, const ExpertGemv& op) {
  LM_CHECK(op.weight.layout == 0 && op.places <= 65535);
  ExpertParams params = {};
  params.rows.weight = op.weight.data();
  params.rows.row_bytes = op.weight.row_bytes;
  params.rows.m = op.weight.shape[2];
  params.rows.k = op.weight.shape[3];
  params.rows.type = op.weight.dtype;
  params.rows.bias = op.bias ? f32(op.bias) : nullptr;
  params.op = op;
  launch(context, expert_gemv_kernel,
         {dim3(unsigned((params.rows.m + kWarps - 1) / kWarps), unsigned(op.places)),
          dim3(32 * kWarps)},
         params);
}

}  // namespace lm::cuda
