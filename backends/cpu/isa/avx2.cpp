// backends/cpu/isa/avx2.cpp — AVX2, FMA, F16C: processors since Haswell (2013) and Zen (2017).
#include "backends/cpu/isa/kernels.h"
// The vectors.
#include "backends/cpu/isa/vec_avx2.h"
// What is done with them.
#include "backends/cpu/isa/table.inl"

namespace lm::cpu {

const Kernels& avx2_kernels() {
  static constexpr Kernels kTable = kernels_named("avx2");
  return kTable;
}

}  // namespace lm::cpu
