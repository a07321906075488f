// backends/cuda/error.h — what the CUDA runtime says, as our errors.
#pragma once
#include <cuda_runtime.h>

#include <string_view>

#include "engine/core/result.h"
#include "engine/core/text.h"

namespace lm::cuda {

inline Status check(cudaError_t code, std::string_view doing) {
  if (code == cudaSuccess) return ok();
  const bool memory = code == cudaErrorMemoryAllocation;
  return Error{memory ? ErrorCode::out_of_memory : ErrorCode::device,
               concat("CUDA failed at ", doing, ": ", cudaGetErrorString(code))};
}

}  // namespace lm::cuda
