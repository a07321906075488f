// backends/cuda/pending.cpp — operations that are declared and not written yet.
#include "backends/cuda/ops.h"
#include "engine/core/check.h"

namespace lm::cuda {

void embed(const Context&, Tensor, Tensor, float, Tensor) {
  LM_CHECK(false);
}
void rms_norm(const Context&, const RmsNorm&) {
  LM_CHECK(false);
}
void rope(const Context&, const Rope&, const StepView&) {
  LM_CHECK(false);
}
void glu(const Context&, const Glu&) {
  LM_CHECK(false);
}
void add(const Context&, Tensor, Tensor, Tensor) {
  LM_CHECK(false);
}
void gather_rows(const Context&, Tensor, Tensor, Tensor) {
  LM_CHECK(false);
}
void gather_columns(const Context&, Tensor, Tensor, Tensor) {
  LM_CHECK(false);
}

Status prepare_linear(const DeviceFacts&) {
  return ok();
}
size_t linear_scratch_bytes(const StepLimits&, const DeviceFacts&) {
  return 0;
}
void linears(const Context&, std::span<const Linear>) {
  LM_CHECK(false);
}
void norm_linears(const Context&, const RmsNorm&, std::span<const Linear>) {
  LM_CHECK(false);
}
void norm_glu(const Context&, const RmsNorm&, const Linear&, const Linear&, const Glu&) {
  LM_CHECK(false);
}

Status prepare_gemm(const DeviceFacts&) {
  return ok();
}
size_t gemm_scratch_bytes(const StepLimits&, const DeviceFacts&) {
  return 0;
}
void gemm(const Context&, const Linear&) {
  LM_CHECK(false);
}

void kv_write(const Context&, const KvWrite&, const StepView&) {
  LM_CHECK(false);
}
Status prepare_attention(const DeviceFacts&) {
  return ok();
}
size_t attention_scratch_bytes(const StepLimits&, const DeviceFacts&) {
  return 0;
}
void attention(const Context&, const Attention&, const StepView&) {
  LM_CHECK(false);
}

void moe_route(const Context&, const MoeRoute&) {
  LM_CHECK(false);
}
size_t moe_scratch_bytes(const StepLimits&, const DeviceFacts&) {
  return 0;
}
void moe_ffn(const Context&, const MoeFfn&) {
  LM_CHECK(false);
}

}  // namespace lm::cuda
