// Rows of the embedding table, which lies as in the file: any type.
#include "backends/cuda/decode.cuh"
#include "backends/cuda/launch.h"
#include "backends/cuda/ops.h"
#include "backends/cuda/ptx.cuh"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

constexpr int kThreads = 128;

struct EmbedParams {
  const std::byte* table;
  const int32_t* ids;
  float* out;
  int64_t row_bytes, n_rows, out_stride;
  int cols;
  float scale;
  DType type;
};

// A thread makes eight numbers of a row; an id without a row leaves zeros.
// Bytes: a row of the table and one of f32 for each id.
__global__ void embed_kernel(EmbedParams p) {
  wait_for_previous_kernel();
  allow_next_kernel();
  const int64_t id = p.ids[blockIdx.x];
  const int first = 8 * (int(blockIdx.y) * kThreads + int(threadIdx.x));
  if (first >= p.cols) return;
  float values[8] = {};
  if (id >= 0 && id < p.n_rows) {
    decode_eight(p.type, p.table + id * p.row_bytes, first / 8, p.cols, values);
  }
  float* out = p.out + int64_t(blockIdx.x) * p.out_stride + first;
  for (int i = 0; i < 8; ++i) {
    if (first + i < p.cols) out[i] = values[i] * p.scale;
  }
}

}  // namespace

void embed(const Context& context, Tensor table, Tensor ids, float scale, Tensor out) {
  const int64_t n = out.rows(), cols = out.cols(), eights = (cols + 7) / 8;
  LM_CHECK(table.layout == 0 && table.cols() == cols && out.dtype == DType::f32);
  LM_CHECK(ids.dtype == DType::i32 && ids.rows() * ids.cols() >= n);
  const EmbedParams params = {.table = table.data(),
                              .ids = i32(ids),
                              .out = f32(out),
                              .row_bytes = table.row_bytes,
                              .n_rows = table.rows(),
                              .out_stride = f32_stride(out),
                              .cols = int(cols),
                              .scale = scale,
                              .type = table.dtype};
  launch(context, embed_kernel,
         {.blocks = dim3(unsigned(n), unsigned((eights + kThreads - 1) / kThreads)),
          .threads = dim3(kThreads)},
         params);
}

}  // namespace lm::cuda
