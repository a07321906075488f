// Storing keys and values in the paged cache (kv_layout.cuh).
#include "backends/cuda/attention.h"
#include "backends/cuda/kv_layout.cuh"
#include "backends/cuda/launch.h"
#include "backends/cuda/ops.h"
#include "backends/cuda/ptx.cuh"
#include "backends/cuda/reduce.cuh"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

constexpr int kWarps = 4;  // of a block

struct KvWriteParams {
  const float *k, *v;
  int64_t k_stride, v_stride;  // floats between heads
  const int32_t* slots;
  KvCacheView k_cache, v_cache;
  int64_t n;  // heads of all rows
};

// A warp stores one head of one row, of K (blockIdx.y = 0) or V. Bytes: 4 a number read, and what
// the type takes written.
template <class Kv>
__global__ void kv_write_kernel(KvWriteParams p) {
  wait_for_previous_kernel();
  allow_next_kernel();
  KvCacheView cache = p.k_cache;  // both have one shape; a choice by reference would need a stack
  if (blockIdx.y != 0) cache.data = p.v_cache.data;
  const int64_t source = int64_t(blockIdx.x) * kWarps + threadIdx.y;
  if (source >= p.n) return;
  const int32_t slot = p.slots[source / cache.n_heads];
  const int32_t block = slot / cache.block_size;
  if (slot < 0 || block >= cache.n_blocks) return;
  const float* x = blockIdx.y == 0 ? p.k + source * p.k_stride : p.v + source * p.v_stride;
  std::byte* head = cache.head(block, int(source % cache.n_heads));
  for (int first = 0; first < cache.head_dim; first += kWarp) {
    const int dim = first + int(threadIdx.x);
    const bool valid = dim < cache.head_dim;
    Kv::store(cache, head, slot % cache.block_size, dim, valid ? x[dim] : 0.0f, valid);
  }
}

}  // namespace

KvCacheView view_of(Tensor cache) {
  return {.data = cache.data(),
          .head_bytes = cache.shape[2] * int64_t(row_bytes(cache.dtype, cache.shape[3])),
          .n_blocks = int(cache.shape[0]),
          .n_heads = int(cache.shape[1]),
          .block_size = int(cache.shape[2]),
          .head_dim = int(cache.shape[3])};
}

void check_caches(Tensor k_cache, Tensor v_cache, int64_t head_dim, const StepView& step) {
  LM_CHECK(k_cache.shape == v_cache.shape && k_cache.dtype == v_cache.dtype);
  LM_CHECK(k_cache.shape[2] == step.block_size && k_cache.shape[3] == head_dim);
  LM_CHECK(k_cache.row_bytes == int64_t(row_bytes(k_cache.dtype, head_dim)));
  LM_CHECK(k_cache.dtype == DType::f32 || k_cache.dtype == DType::f16 ||
           (k_cache.dtype == DType::q8_0 && head_dim % 32 == 0));
}

void kv_write(const Context& context, const KvWrite& op, const StepView& step) {
  LM_CHECK(op.k.dtype == DType::f32 && op.v.dtype == DType::f32 && op.v.shape == op.k.shape);
  LM_CHECK(op.k_cache.shape[1] == op.k.shape[2]);
  check_caches(op.k_cache, op.v_cache, op.k.shape[3], step);
  const KvWriteParams params = {.k = f32(op.k),
                                .v = f32(op.v),
                                .k_stride = f32_stride(op.k),
                                .v_stride = f32_stride(op.v),
                                .slots = i32(step.slots),
                                .k_cache = view_of(op.k_cache),
                                .v_cache = view_of(op.v_cache),
                                .n = op.k.shape[1] * op.k.shape[2]};
  const Grid grid = {.blocks = dim3(unsigned((params.n + kWarps - 1) / kWarps), 2),
                     .threads = dim3(kWarp, kWarps)};
  switch (op.k_cache.dtype) {
    case DType::f32:
      return launch(context, kv_write_kernel<F32Kv>, grid, params);
    case DType::f16:
      return launch(context, kv_write_kernel<F16Kv>, grid, params);
    default:
      return launch(context, kv_write_kernel<Q8Kv>, grid, params);
  }
}

}  // namespace lm::cuda
