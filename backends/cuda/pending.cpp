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
void linears(const Context& context, std::span<const Linear> ops) {
  for (const Linear& op : ops) gemm(context, {&op, 1});
}
void norm_linears(const Context& context, const RmsNorm& norm, std::span<const Linear> ops) {
  rms_norm(context, norm);
  gemm(context, ops);
}
void norm_glu(const Context& context, const RmsNorm& norm, const Linear& gate, const Linear& up,
              const Glu& op) {
  const Linear both[] = {gate, up};
  norm_linears(context, norm, both);
  glu(context, op);
}

size_t moe_scratch_bytes(const StepLimits&, const DeviceFacts&) {
  return 0;
}
void moe_ffn(const Context&, const MoeFfn&) {
  LM_CHECK(false);
}

}  // namespace lm::cuda
