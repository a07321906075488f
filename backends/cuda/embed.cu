// Rows of the embedding table, which lies as in the file.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "backends/cuda/launch.h"
#include "backends/cuda/ops.h"
#include "backends/cuda/ptx.cuh"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

constexpr int kThreads = 256;

struct EmbedParams {
  const std::byte* table;
  const int32_t* ids;
  float* out;
  int64_t row_bytes, n_rows, out_stride;
  int cols;
  float scale;
};

struct F32Row {
  __device__ static float at(const std::byte* row, int i) {
    return reinterpret_cast<const float*>(row)[i];
  }
};
struct F16Row {
  __device__ static float at(const std::byte* row, int i) {
    return __half2float(__ushort_as_half(reinterpret_cast<const uint16_t*>(row)[i]));
  }
};
struct BF16Row {
  __device__ static float at(const std::byte* row, int i) {
    return __uint_as_float(uint32_t(reinterpret_cast<const uint16_t*>(row)[i]) << 16);
  }
};
struct Q8_0Row {  // blocks of a half and 32 bytes
  __device__ static float at(const std::byte* row, int i) {
    const std::byte* block = row + i / 32 * 34;
    const float scale = __half2float(__ushort_as_half(*reinterpret_cast<const uint16_t*>(block)));
    return scale * float(reinterpret_cast<const int8_t*>(block + 2)[i % 32]);
  }
};

// An id without a row leaves zeros. Bytes: a row of the table and one of f32 for each id.
template <class Row>
__global__ void embed_kernel(EmbedParams p) {
  wait_for_previous_kernel();
  allow_next_kernel();
  const int64_t id = p.ids[blockIdx.x];
  const int i = int(blockIdx.y) * kThreads + int(threadIdx.x);
  if (i >= p.cols) return;
  float value = 0;
  if (id >= 0 && id < p.n_rows) value = Row::at(p.table + id * p.row_bytes, i) * p.scale;
  p.out[int64_t(blockIdx.x) * p.out_stride + i] = value;
}

}  // namespace

void embed(const Context& context, Tensor table, Tensor ids, float scale, Tensor out) {
  const int64_t n = out.rows(), cols = out.cols();
  LM_CHECK(table.layout == 0 && table.cols() == cols && out.dtype == DType::f32);
  LM_CHECK(ids.dtype == DType::i32 && ids.rows() * ids.cols() >= n);
  const EmbedParams params = {.table = table.data(),
                              .ids = i32(ids),
                              .out = f32(out),
                              .row_bytes = table.row_bytes,
                              .n_rows = table.rows(),
                              .out_stride = f32_stride(out),
                              .cols = int(cols),
                              .scale = scale};
  const Grid grid = {.blocks = dim3(unsigned(n), unsigned((cols + kThreads - 1) / kThreads)),
                     .threads = dim3(kThreads)};
  switch (table.dtype) {
    case DType::f32:
      return launch(context, embed_kernel<F32Row>, grid, params);
    case DType::f16:
      return launch(context, embed_kernel<F16Row>, grid, params);
    case DType::bf16:
      return launch(context, embed_kernel<BF16Row>, grid, params);
    case DType::q8_0:
      return launch(context, embed_kernel<Q8_0Row>, grid, params);
    default:
      LM_CHECK(false);
  }
}

}  // namespace lm::cuda
