// backends/cpu/isa/table.inl — an instruction set's kernels, put together. Included last by
// scalar.cpp, avx2.cpp, ... after the vec_*.h that defines the vectors.
#include "backends/cpu/isa/math.inl"
// math.inl first: the others use it.
#include "backends/cpu/isa/elementwise.inl"
// attention.inl uses map() of elementwise.inl.
#include "backends/cpu/isa/attention.inl"
#include "backends/cpu/isa/matmul.inl"

namespace lm::cpu {
namespace {

constexpr Kernels kernels_named(const char* name) {
  return {
      .name = name,
      .lanes = kLanes,
      .matmul = {matmul<FormatF32>, matmul<FormatF16>, matmul<FormatBf16>, matmul<FormatQ8_0>,
                 matmul<FormatQ4_0>, matmul<FormatQ4_K>, matmul<FormatQ6_K>},
      .quantize = quantize,
      .rms_norm = rms_norm,
      .silu = silu,
      .gelu_tanh = gelu_tanh,
      .gelu_erf = gelu_erf,
      .swiglu_oai = swiglu_oai,
      .exp = exp_of,
      .add = add,
      .scale_add = scale_add,
      .rotate_halves = rotate_halves,
      .rotate_pairs = rotate_pairs,
      .f16_to_f32 = f16_to_f32_row,
      .q8_0_to_f32 = q8_0_to_f32_row,
      .scores = scores,
      .soft_cap = soft_cap,
      .softmax_part = softmax_part,
      .weighted_sum = weighted_sum,
  };
}

}  // namespace
}  // namespace lm::cpu
