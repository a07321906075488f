// backends/cuda/device_code.h — what this program has for the current device.
#pragma once

namespace lm::cuda {

// The compute capability that kernels were compiled for as they run on the current device (80: 8.0;
// of machine code, or of the PTX that the driver compiles); 0: there are none for it.
int code_version();

}  // namespace lm::cuda
