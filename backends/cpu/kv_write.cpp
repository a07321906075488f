// Storing keys and values in the paged cache.
#include <cstring>
#include <span>

#include "backends/cpu/ops.h"
#include "engine/core/check.h"
#include "quant/encode.h"
#include "quant/half.h"

namespace lm::cpu {
namespace {

void store_row(const float* x, int64_t n, DType type, std::byte* dst) {
  switch (type) {
    case DType::f32:
      std::memcpy(dst, x, size_t(n) * 4);
      return;
    case DType::f16:
      for (int64_t i = 0; i < n; ++i) {
        const uint16_t h = f32_to_f16(x[i]);
        std::memcpy(dst + 2 * i, &h, 2);
      }
      return;
    case DType::q8_0:
      encode(DType::q8_0, std::span(x, size_t(n)), dst);
      return;
    default:
      LM_CHECK(false);
  }
}

}  // namespace

void kv_write(const Context& context, const KvWrite& op, const StepView& step) {
  const int64_t n = op.k.shape[1], n_heads = op.k.shape[2], head_dim = op.k.shape[3];
  LM_CHECK(op.k.dtype == DType::f32 && op.v.dtype == DType::f32 && op.v.shape == op.k.shape);
  LM_CHECK(op.k_cache.shape == op.v_cache.shape && op.k_cache.shape[1] == n_heads);
  LM_CHECK(op.k_cache.shape[2] == step.block_size && op.k_cache.shape[3] == head_dim);
  LM_CHECK(op.k_cache.dtype != DType::q8_0 || head_dim % 32 == 0);
  context.pool.parallel_for(n, [&](int64_t row, int) {
    const int64_t slot = i32(step.slots)[row];
    if (slot < 0) return;
    const int64_t block = slot / step.block_size, offset = slot % step.block_size;
    LM_CHECK(block < op.k_cache.shape[0]);
    for (int64_t head = 0; head < n_heads; ++head) {
      const int64_t cached = (block * n_heads + head) * step.block_size + offset;
      const int64_t source = row * n_heads + head;
      store_row(f32_row(op.k, source), head_dim, op.k_cache.dtype,
                op.k_cache.data() + cached * op.k_cache.row_bytes);
      store_row(f32_row(op.v, source), head_dim, op.v_cache.dtype,
                op.v_cache.data() + cached * op.v_cache.row_bytes);
    }
  });
}

}  // namespace lm::cpu
