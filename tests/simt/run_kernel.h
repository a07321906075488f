// tests/simt/run_kernel.h — launches a kernel and waits for it.
#pragma once
#include <cuda_runtime.h>

#include <array>

#include "tests/simt/simt.h"

namespace simt {

template <class... Params, class... Args>
cudaError_t run_kernel(dim3 blocks, dim3 threads, size_t shared_bytes, void (*kernel)(Params...),
                       Args... args) {
  cudaLaunchConfig_t config = {};
  config.gridDim = blocks;
  config.blockDim = threads;
  config.dynamicSmemBytes = shared_bytes;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, Params(args)...);
  return error != cudaSuccess ? error : cudaDeviceSynchronize();
}

// Runs body() under each schedule.
template <class Body>
void for_each_schedule(const Body& body) {
  for (const Schedule schedule : {Schedule::forward, Schedule::reverse, Schedule::random}) {
    set_schedule(schedule);
    body();
  }
  set_schedule(Schedule::forward);
}

}  // namespace simt
