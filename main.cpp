// main.cpp — the one place that knows every backend in this executable.
#include "backends/cpu/cpu_backend.h"
#include "backends/registry.h"
#include "engine/cli/cli.h"

int main(int argc, char** argv) {
  lm::Registry registry;
  registry.add(lm::cpu::registry_entry());
  return lm::cli::run(argc, argv, registry);
}
