// backends/cuda/hopper/limits_hopper.h — how fast wgmma multiplies: what measure_limits adds where
// DeviceFacts::wgmma.
#pragma once
#include <cstdint>

#include "backends/cuda/context.h"
#include "engine/core/result.h"

namespace lm::cuda {

// Products of halves that wait for nothing but each other, on every multiprocessor.
void multiply_by_wgmma(const Context& context, int turns, uint32_t* out);
double wgmma_flops(const DeviceFacts& facts, int turns);
Status prepare_wgmma_limits();

}  // namespace lm::cuda
