// backends/cuda/launch.h — starting a kernel: the one place that knows how.
// A kernel may start before the one in front of it has finished (programmatic dependent launch,
// sm_90 and later). Every thread calls wait_for_previous_kernel() before it reads or writes
// anything but weights, which were finished long before; and in every kernel some thread calls it,
// so that whoever waits for that kernel has waited for all in front of it.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>

#include "backends/cuda/context.h"
#include "backends/cuda/error.h"
#include "backends/cuda/recorded_steps.h"

namespace lm::cuda {

struct Grid {
  dim3 blocks, threads;
  size_t shared_bytes = 0;
};

template <class... Params, class... Args>
void launch(const Context& context, void (*kernel)(Params...), const Grid& grid, Args... args) {
  if (grid.blocks.x == 0 || grid.blocks.y == 0 || grid.blocks.z == 0) return;
  if (!context.recorded.launches()) return;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid.blocks;
  config.blockDim = grid.threads;
  config.dynamicSmemBytes = grid.shared_bytes;
  config.stream = context.stream;
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  if (context.facts.overlaps_kernels) {
    config.attrs = &overlap;
    config.numAttrs = 1;
  }
  context.note(cudaLaunchKernelEx(&config, kernel, Params(args)...));
}

// Blocks of `kernel` may use more than 48 KiB of shared memory. Once, when the backend opens or
// reserves.
template <class Kernel>
Status allow_shared_bytes(Kernel kernel, size_t bytes) {
  return check(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)),
      "setting a kernel's shared memory");
}

}  // namespace lm::cuda
