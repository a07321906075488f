// Which kernel attends: see attention.h.
#include "backends/cuda/attention.h"
#include "backends/cuda/ops.h"
#include "engine/core/check.h"

namespace lm::cuda {

namespace {

bool aligned(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

}  // namespace

bool rows_are_aligned(const AttentionParams& p) {
  return p.q_stride % 4 == 0 && p.k.head_bytes % 16 == 0 && p.k.block_size % 16 == 0 &&
         aligned(p.q) && aligned(p.k.data) && aligned(p.v.data);
}

Status prepare_attention(const DeviceFacts& facts) {
  LM_TRY(prepare_attention_decode(facts));
  LM_TRY(prepare_attention_decode_any());
  return prepare_attention_prefill(facts);
}

size_t attention_scratch_bytes(const StepLimits& limits) {
  return decode_scratch_bytes(limits);
}

size_t attention_ticket_bytes(const StepLimits& limits) {
  return size_t(limits.max_seqs) * size_t(limits.n_heads) * sizeof(unsigned);
}

void attention(const Context& context, const Attention& op, const StepView& step) {
  const int64_t n = op.q.shape[1], n_heads = op.q.shape[2], n_kv_heads = op.k_cache.shape[1];
  LM_CHECK(op.q.dtype == DType::f32 && op.out.dtype == DType::f32 && op.out.shape == op.q.shape);
  LM_CHECK(n_kv_heads > 0 && n_heads % n_kv_heads == 0 && step.n_tokens == n);
  check_caches(op.k_cache, op.v_cache, op.q.shape[3], step);
  const AttentionParams params = {.q = f32(op.q),
                                  .out = f32(op.out),
                                  .q_stride = f32_stride(op.q),
                                  .out_stride = f32_stride(op.out),
                                  .k = view_of(op.k_cache),
                                  .v = view_of(op.v_cache),
                                  .q_start = i32(step.q_start),
                                  .kv_len = i32(step.kv_len),
                                  .block_table = i32(step.block_table),
                                  .table_stride = step.block_table.row_bytes / 4,
                                  .max_blocks = int(step.block_table.cols()),
                                  .sinks = op.sinks ? f32(op.sinks) : nullptr,
                                  .scale = op.scale,
                                  .softcap = op.softcap,
                                  .window = op.window,
                                  .n_tokens = int(n),
                                  .n_seqs = step.n_seqs,
                                  .n_heads = int(n_heads),
                                  .group = int(n_heads / n_kv_heads)};
  const DType type = op.k_cache.dtype;
  if (decodes(context, params, type)) {
    attention_decode(context, params, type);
  } else if (decodes_any(params)) {
    attention_decode_any(context, params, type);
  } else {
    return attention_any(context, params, type, 1);
  }
  if (n <= kMostDecodeRows) return;
  if (prefills(context, params, type)) return attention_prefill(context, params, type);
  attention_any(context, params, type, kMostDecodeRows + 1);
}

}  // namespace lm::cuda
