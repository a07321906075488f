// backends/cpu/isa_select.h — which function table this process uses.
#pragma once
#include <string_view>
#include <vector>

#include "backends/cpu/isa/kernels.h"
#include "engine/core/result.h"

namespace lm::cpu {

// The tables that this machine and its operating system can run, slowest first.
std::vector<const Kernels*> usable_kernels();

// `forced`: a table's name, or empty for $LLM_CPU or, without that, the fastest usable one.
Result<const Kernels*> select_kernels(std::string_view forced);

}  // namespace lm::cpu
