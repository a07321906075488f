// backends/cuda/limits.h — how fast a device reads its memory and computes: see DeviceLimits.
#pragma once
#include "backends/backend.h"
#include "backends/cuda/context.h"

namespace lm::cuda {

Result<DeviceLimits> measure_limits(const Context& context, Backend& backend);

}  // namespace lm::cuda
