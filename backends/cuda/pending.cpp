// backends/cuda/pending.cpp — operations that are declared and not written yet.
#include "backends/cuda/ops.h"
#include "engine/core/check.h"

namespace lm::cuda {

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

size_t moe_scratch_bytes(const StepLimits&, const DeviceFacts&) {
  return 0;
}
void moe_ffn(const Context&, const MoeFfn&) {
  LM_CHECK(false);
}

}  // namespace lm::cuda
