// backends/cpu/limits.h — the speed of this machine's memory and arithmetic, as the kernels in use
// could reach it at best.
#pragma once
#include "backends/backend.h"
#include "backends/cpu/isa/kernels.h"
#include "engine/core/result.h"
#include "engine/core/thread_pool.h"

namespace lm::cpu {

// Takes about a second and up to 1 GiB of memory. out_of_memory when there is not even a fraction
// of that.
Result<DeviceLimits> measure_limits(const Kernels& kernels, ThreadPool& pool);

}  // namespace lm::cpu
