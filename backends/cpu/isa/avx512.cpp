// backends/cpu/isa/avx512.cpp — AVX-512 F, BW, DQ, VL, VNNI: Ice Lake, Sapphire Rapids, Zen 4 and
// later.
#include "backends/cpu/isa/kernels.h"
// The vectors.
#include "backends/cpu/isa/vec_avx512.h"
// What is done with them.
#include "backends/cpu/isa/table.inl"

namespace lm::cpu {

const Kernels& avx512_kernels() {
  static constexpr Kernels kTable = kernels_named("avx512");
  return kTable;
}

}  // namespace lm::cpu
