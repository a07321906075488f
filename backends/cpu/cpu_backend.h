// backends/cpu/cpu_backend.h — the CPU's entry in the registry.
#pragma once
#include "backends/registry.h"

namespace lm::cpu {

BackendEntry registry_entry();

// Names of the instruction-set tables this machine can run, slowest first: "scalar", "avx2", ...
std::vector<std::string_view> usable_isas();

}  // namespace lm::cpu
