// Operations that work on each row by itself: norms, activations, sums, copies. Short steps are
// bound by the time that a launch and a read take, long ones by bandwidth.
#include "backends/cuda/activations.cuh"
#include "backends/cuda/launch.h"
#include "backends/cuda/ops.h"
#include "backends/cuda/ptx.cuh"
#include "backends/cuda/quantize.h"
#include "backends/cuda/reduce.cuh"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kColumnsPerThread = 4;  // independent loads of a thread
constexpr int kColumns = kThreads * kColumnsPerThread;

// A block for each row and kColumns columns.
Grid grid_of(int64_t rows, int64_t cols) {
  return {.blocks = dim3(unsigned(rows), unsigned((cols + kColumns - 1) / kColumns)),
          .threads = dim3(kThreads)};
}

// use(column) for the columns of this block's row that are this thread's.
template <class Use>
__device__ inline void for_columns(int cols, const Use& use) {
  const int first = int(blockIdx.y) * kColumns + int(threadIdx.x);
#pragma unroll
  for (int i = 0; i < kColumnsPerThread; ++i) {
    const int column = first + i * kThreads;
    if (column < cols) use(column);
  }
}

struct RmsNormParams {
  const float* x;
  const float* weight;
  float* out;
  int64_t x_stride, out_stride;
  int rows, cols;
  float eps;
};

// blockDim.x threads for a row, blockDim.y rows; more than one warp for a row: one row.
// Bytes: 8 a number. Flops: 4 a number.
__global__ void rms_norm_kernel(RmsNormParams p) {
  LM_SHARED(float, parts);
  wait_for_previous_kernel();
  allow_next_kernel();
  const int thread = int(threadIdx.x), n_threads = int(blockDim.x);
  const int64_t row = int64_t(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= p.rows) return;
  const float* x = p.x + row * p.x_stride;
  float* out = p.out + row * p.out_stride;
  float squares = 0;
#pragma unroll 8
  for (int i = thread; i < p.cols; i += n_threads) squares = fmaf(x[i], x[i], squares);
  const float mean = block_sum(squares, parts, thread, n_threads) / float(p.cols);
  const float factor = 1.0f / sqrtf(mean + p.eps);
#pragma unroll 8
  for (int i = thread; i < p.cols; i += n_threads) out[i] = x[i] * factor * p.weight[i];
}

struct PairParams {
  const float *a, *b;
  float* out;
  int64_t a_stride, b_stride, out_stride;
  int cols;
  float limit;
};

struct Add {
  __device__ static float of(float a, float b, float) { return a + b; }
};

template <Act act>
struct Gated {
  __device__ static float of(float g, float u, float limit) { return gated(act, limit, g, u); }
};

// out = Op(a, b). Bytes: 12 a number.
template <class Op>
__global__ void pair_kernel(PairParams p) {
  wait_for_previous_kernel();
  allow_next_kernel();
  const int64_t row = blockIdx.x;
  const float *a = p.a + row * p.a_stride, *b = p.b + row * p.b_stride;
  float* out = p.out + row * p.out_stride;
  for_columns(p.cols, [&](int i) { out[i] = Op::of(a[i], b[i], p.limit); });
}

template <class Op>
void launch_pair(const Context& context, Tensor a, Tensor b, Tensor out, float limit) {
  LM_CHECK(a.dtype == DType::f32 && b.dtype == DType::f32 && out.dtype == DType::f32);
  LM_CHECK(a.rows() == out.rows() && a.cols() == out.cols());
  LM_CHECK(b.rows() == out.rows() && b.cols() == out.cols());
  const PairParams params = {.a = f32(a),
                             .b = f32(b),
                             .out = f32(out),
                             .a_stride = f32_stride(a),
                             .b_stride = f32_stride(b),
                             .out_stride = f32_stride(out),
                             .cols = int(out.cols()),
                             .limit = limit};
  launch(context, pair_kernel<Op>, grid_of(out.rows(), out.cols()), params);
}

struct GatherParams {
  const std::byte* x;
  const int32_t* ids;
  std::byte* out;
  int64_t x_stride, out_stride;  // bytes
  int64_t n_x;                   // rows of x
  int cols;                      // words of a row
};

// An id without a row leaves zeros. Bytes: twice the rows.
template <class Word>
__global__ void gather_rows_kernel(GatherParams p) {
  wait_for_previous_kernel();
  allow_next_kernel();
  const int64_t row = blockIdx.x, id = p.ids[row];
  const bool valid = id >= 0 && id < p.n_x;
  const Word* x = reinterpret_cast<const Word*>(p.x + (valid ? id : 0) * p.x_stride);
  Word* out = reinterpret_cast<Word*>(p.out + row * p.out_stride);
  for_columns(p.cols, [&](int i) { out[i] = valid ? x[i] : Word(0); });
}

struct GatherColumnsParams {
  const float* x;
  const int32_t* columns;
  float* out;
  int64_t x_stride, out_stride;
  int cols;
};

// Bytes: 12 a number.
__global__ void gather_columns_kernel(GatherColumnsParams p) {
  wait_for_previous_kernel();
  allow_next_kernel();
  const float* x = p.x + int64_t(blockIdx.x) * p.x_stride;
  float* out = p.out + int64_t(blockIdx.x) * p.out_stride;
  for_columns(p.cols, [&](int i) { out[i] = x[p.columns[i]]; });
}

}  // namespace

void rms_norm(const Context& context, const RmsNorm& op) {
  LM_CHECK(op.x.dtype == DType::f32 && op.out.dtype == DType::f32 && op.weight.dtype == DType::f32);
  LM_CHECK(op.x.rows() == op.out.rows() && op.x.cols() == op.out.cols());
  LM_CHECK(op.weight.rows() * op.weight.cols() == op.x.cols());
  const RmsNormParams params = {.x = f32(op.x),
                                .weight = f32(op.weight),
                                .out = f32(op.out),
                                .x_stride = f32_stride(op.x),
                                .out_stride = f32_stride(op.out),
                                .rows = int(op.x.rows()),
                                .cols = int(op.x.cols()),
                                .eps = op.eps};
  const int threads = norm_threads(op.x.cols());
  const int rows = threads == kWarp ? 4 : 1;  // of a block
  launch(context, rms_norm_kernel,
         {.blocks = dim3(unsigned((op.x.rows() + rows - 1) / rows)),
          .threads = dim3(unsigned(threads), unsigned(rows)),
          .shared_bytes = size_t(threads / kWarp) * sizeof(float)},
         params);
}

void glu(const Context& context, const Glu& op) {
  switch (op.act) {
    case Act::silu:
      return launch_pair<Gated<Act::silu>>(context, op.gate, op.up, op.out, op.limit);
    case Act::gelu_tanh:
      return launch_pair<Gated<Act::gelu_tanh>>(context, op.gate, op.up, op.out, op.limit);
    case Act::gelu_erf:
      return launch_pair<Gated<Act::gelu_erf>>(context, op.gate, op.up, op.out, op.limit);
    case Act::swiglu_oai:
      return launch_pair<Gated<Act::swiglu_oai>>(context, op.gate, op.up, op.out, op.limit);
  }
}

void add(const Context& context, Tensor a, Tensor b, Tensor out) {
  launch_pair<Add>(context, a, b, out, 0);
}

void gather_rows(const Context& context, Tensor x, Tensor row_ids, Tensor out) {
  LM_CHECK(x.layout == 0 && x.dtype == out.dtype && x.cols() == out.cols());
  LM_CHECK(row_ids.dtype == DType::i32 && row_ids.rows() * row_ids.cols() >= out.rows());
  const int64_t bytes = int64_t(row_bytes(out.dtype, out.cols()));
  GatherParams params = {.x = x.data(),
                         .ids = i32(row_ids),
                         .out = out.data(),
                         .x_stride = x.row_bytes,
                         .out_stride = out.row_bytes,
                         .n_x = x.rows(),
                         .cols = int(bytes)};
  const auto whole_words = [](Tensor t) { return t.row_bytes % 4 == 0 && t.offset % 4 == 0; };
  if (bytes % 4 == 0 && whole_words(x) && whole_words(out)) {
    params.cols = int(bytes / 4);
    launch(context, gather_rows_kernel<uint32_t>, grid_of(out.rows(), params.cols), params);
  } else {
    launch(context, gather_rows_kernel<uint8_t>, grid_of(out.rows(), params.cols), params);
  }
}

void gather_columns(const Context& context, Tensor x, Tensor columns, Tensor out) {
  LM_CHECK(x.dtype == DType::f32 && out.dtype == DType::f32 && columns.dtype == DType::i32);
  LM_CHECK(x.rows() == out.rows() && columns.rows() * columns.cols() == out.cols());
  const GatherColumnsParams params = {.x = f32(x),
                                      .columns = i32(columns),
                                      .out = f32(out),
                                      .x_stride = f32_stride(x),
                                      .out_stride = f32_stride(out),
                                      .cols = int(out.cols())};
  launch(context, gather_columns_kernel, grid_of(out.rows(), out.cols()), params);
}

}  // namespace lm::cuda
