// backends/cpu/isa/scalar.cpp — the table that every machine runs, and the others are tested by.
#include "backends/cpu/isa/kernels.h"
// The vectors.
#include "backends/cpu/isa/vec_scalar.h"
// What is done with them.
#include "backends/cpu/isa/table.inl"

namespace lm::cpu {

const Kernels& scalar_kernels() {
  static constexpr Kernels kTable = kernels_named("scalar");
  return kTable;
}

}  // namespace lm::cpu
