// tests/cuda/both.h — what a program can compute on that has both backends.
#pragma once
#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/registry.h"

namespace lm::test {

inline Registry both() {
  Registry registry;
  registry.add(cuda::registry_entry());
  registry.add(cpu::registry_entry());
  return registry;
}

}  // namespace lm::test
