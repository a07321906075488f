// Matrices that lie as in the file: plain numbers at the rate at which they arrive, every other
// type by decoding eight numbers at a time (decode.cuh). f32 throughout; a lane sums every 32nd
// eight of a row in order, and the row's sum is that of its 32 lanes, so that its bits do not
// depend on the number of rows. A warp takes one row of the matrix, or for more rows of x up to
// four, which share what it loads of x. Bytes: the matrix once; x from the caches, 4 n / (rows of a
// warp) for each weight. Flops: 2 a weight and row of x, and what decoding costs. (Halves take
// matvec_halves.cu where tensor cores multiply tf32.)
#include "backends/cuda/decode.cuh"
#include "backends/cuda/gemv_rows.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/ptx.cuh"
#include "backends/cuda/quantized_rows.cuh"
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
  bool x_aligned;
  int n;
  float* out;
  int64_t out_stride;
  const float* bias;
  bool accumulate;
};

// Eight numbers at once, of rows whose every eighth number is aligned. kMostRows: of the matrix for
// a warp; kLoads: turns of its loop that wait for memory together.
struct EightF32 {
  static constexpr int kMostRows = 4, kLoads = 2;
  __device__ static void load(const RowsParams&, const std::byte* row, int64_t i, float (&w)[8]) {
    for (int half = 0; half < 2; ++half) {
      const uint4 v = load_once(reinterpret_cast<const uint4*>(row) + 2 * i + half);
      const uint32_t words[4] = {v.x, v.y, v.z, v.w};
      for (int j = 0; j < 4; ++j) w[4 * half + j] = __uint_as_float(words[j]);
    }
  }
};
struct EightF16 {
  static constexpr int kMostRows = 4, kLoads = 4;
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
  static constexpr int kMostRows = 4, kLoads = 4;
  __device__ static void load(const RowsParams&, const std::byte* row, int64_t i, float (&w)[8]) {
    const uint4 v = load_once(reinterpret_cast<const uint4*>(row) + i);
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
    for (int j = 0; j < 8; ++j) {
      w[j] = __uint_as_float(j % 2 == 0 ? words[j / 2] << 16 : words[j / 2] & 0xFFFF0000u);
    }
  }
};
struct EightOfAny {
  static constexpr int kMostRows = 1, kLoads = 1;
  __device__ static void load(const RowsParams& p, const std::byte* row, int64_t i, float (&w)[8]) {
    decode_eight(p.type, row, i, p.k, w);
  }
};

// Eight numbers of x; zeros behind the end.
__device__ inline void load_x(const float* x, int64_t i, int64_t k, bool aligned, float (&v)[8]) {
  for (int half = 0; half < 2; ++half) {
    const float4 four = load_four(x, 8 * i + 4 * half, k, aligned);
    v[4 * half] = four.x, v[4 * half + 1] = four.y;
    v[4 * half + 2] = four.z, v[4 * half + 3] = four.w;
  }
}

// Grid: rows of the matrix, kWarps times kRows a block.
template <class Eight, int kColumns, int kRows>
__global__ void __launch_bounds__(32 * kWarps) gemv_rows_kernel(const RowsParams p) {
  allow_next_kernel();
  const int lane = int(threadIdx.x) % 32;
  const int64_t first = (int64_t(blockIdx.x) * kWarps + threadIdx.x / 32) * kRows;
  wait_for_previous_kernel();
  if (first >= p.m) return;
  const std::byte* weights[kRows];  // behind the last row, that one again
  for (int r = 0; r < kRows; ++r) weights[r] = p.weight + min(first + r, p.m - 1) * p.row_bytes;
  float sums[kRows][kColumns] = {};
  const int64_t n_eights = (p.k + 7) / 8;
#pragma unroll(kRows == 1 ? Eight::kLoads : 1)
  for (int64_t i = lane; i < n_eights; i += 32) {
    float w[kRows][8];
#pragma unroll
    for (int r = 0; r < kRows; ++r) Eight::load(p, weights[r], i, w[r]);
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      if (c >= p.n) break;
      float v[8];
      load_x(p.x + c * p.x_stride, i, p.k, p.x_aligned, v);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        for (int j = 0; j < 8; ++j) sums[r][c] = fmaf(w[r][j], v[j], sums[r][c]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int64_t row = first + r;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      if (c >= p.n || row >= p.m) break;
      float sum = warp_sum(sums[r][c]);
      if (lane != 0) continue;
      if (p.bias != nullptr) sum += p.bias[row];
      float* out = p.out + c * p.out_stride + row;
      *out = p.accumulate ? *out + sum : sum;
    }
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
    load_x(x, i, p.rows.k, p.rows.x_aligned, v);
    for (int j = 0; j < 8; ++j) sum = fmaf(w[j], v[j], sum);
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 != 0) return;
  if (p.rows.bias != nullptr) sum += p.rows.bias[expert * p.rows.m + row];
  p.op.out[position * p.rows.m + row] = sum;
}

template <class Eight, int kColumns, int kRows>
void launch_rows(const Context& context, const RowsParams& p) {
  constexpr int64_t kBlockRows = kWarps * kRows;
  launch(context, gemv_rows_kernel<Eight, kColumns, kRows>,
         {dim3(unsigned((p.m + kBlockRows - 1) / kBlockRows)), dim3(32 * kWarps)}, p);
}

template <class Eight>
void run_rows(const Context& context, const RowsParams& p) {
  if (p.n == 1) {
    launch_rows<Eight, 1, 1>(context, p);
  } else {
    launch_rows<Eight, kMostDecodeRows, Eight::kMostRows>(context, p);
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
                             .x_aligned = rows_aligned(f32(op.x), f32_stride(op.x)),
                             .n = int(op.x.rows()),
                             .out = f32(op.out),
                             .out_stride = f32_stride(op.out),
                             .bias = op.bias ? f32(op.bias) : nullptr,
                             .accumulate = op.accumulate};
  const bool aligned = params.k % 8 == 0 && params.row_bytes % 16 == 0;
  if (aligned && params.type == DType::f32) {
    run_rows<EightF32>(context, params);
  } else if (aligned && params.type == DType::f16) {
    run_rows<EightF16>(context, params);
  } else if (aligned && params.type == DType::bf16) {
    run_rows<EightBf16>(context, params);
  } else {
    run_rows<EightOfAny>(context, params);
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
  params.rows.x_aligned = rows_aligned(op.x, op.x_stride);
  params.op = op;
  launch(context, expert_gemv_kernel,
         {dim3(unsigned((params.rows.m + kWarps - 1) / kWarps), unsigned(op.places)),
          dim3(32 * kWarps)},
         params);
}

}  // namespace lm::cuda
