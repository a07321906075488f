// backends/cuda/cuda_backend.h — NVIDIA devices as a Backend.
#pragma once
#include "backends/registry.h"

namespace lm::cuda {

BackendEntry registry_entry();

}  // namespace lm::cuda
