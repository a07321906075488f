// main.cpp — the one place that knows every backend in this executable.
#include "backends/cpu/cpu_backend.h"
#ifdef LLM_WITH_CUDA
#include "backends/cuda/cuda_backend.h"
#endif
#include "backends/registry.h"
#include "engine/cli/cli.h"

int main(int argc, char** argv) {
  lm::Registry registry;  // "auto" takes the first that can be used
#ifdef LLM_WITH_CUDA
  registry.add(lm::cuda::registry_entry());
#endif
  registry.add(lm::cpu::registry_entry());
  return lm::cli::run(argc, argv, registry);
}
