// The emulated device has no instructions of compute capability 9.0.
#include "backends/cuda/gemm_kernel.h"

namespace lm::cuda {

bool has_hopper_gemm(const DeviceFacts&) {
  return false;
}
Status prepare_hopper_gemm(const DeviceFacts&) {
  return ok();
}
void hopper_gemm(const Context&, const GemmParams&) {}

}  // namespace lm::cuda
