// backends/cpu/isa/avx512vbmi.cpp — AVX-512 with VBMI and GFNI: Ice Lake, Sapphire Rapids, Zen 4
// and later. Only the matmuls that are faster so; the others are those of avx512.cpp.
// In this order, each building on those before.
// clang-format off
#include "backends/cpu/isa/kernels.h"
#include "backends/cpu/isa/vec_avx512.h"
#include "quant/codebook_codes.h"
#include "backends/cpu/isa/steps.inl"
#include "backends/cpu/isa/formats.inl"
#include "backends/cpu/isa/formats_k.inl"
#include "backends/cpu/isa/formats_codebook.inl"
#include "backends/cpu/isa/formats_vbmi.inl"
#include "backends/cpu/isa/matmul.inl"
// clang-format on

namespace lm::cpu {

const MatmulTable& avx512vbmi_kernels() {
  static constexpr MatmulTable kTable = [] {
    MatmulTable table{};
    table.of[int(WeightFormat::iq1_S)] = matmul<TurnedIq1_S>;
    table.of[int(WeightFormat::iq1_M)] = matmul<TurnedIq1_M>;
    table.of[int(WeightFormat::iq2_XXS)] = matmul<TurnedIq2_XXS>;
    table.of[int(WeightFormat::iq2_XS)] = matmul<TurnedIq2_XS>;
    table.of[int(WeightFormat::iq2_S)] = matmul<TurnedIq2_S>;
    table.of[int(WeightFormat::iq3_XXS)] = matmul<TurnedIq3_XXS>;
    table.of[int(WeightFormat::iq3_S)] = matmul<TurnedIq3_S>;
    table.of[int(WeightFormat::tq1_0)] = matmul<LookedUpTq1_0>;
    return table;
  }();
  return kTable;
}

}  // namespace lm::cpu
