// backends/cpu/isa/avxvnni.cpp — AVX2 with AVX-VNNI: processors since Alder Lake (2021) and Zen 5.
#include "backends/cpu/isa/kernels.h"
// The vectors.
#define LM_AVX_VNNI
#include "backends/cpu/isa/vec_avx2.h"
// What is done with them.
#include "backends/cpu/isa/table.inl"

namespace lm::cpu {

const Kernels& avxvnni_kernels() {
  static constexpr Kernels kTable = kernels_named("avxvnni");
  return kTable;
}

}  // namespace lm::cpu
