// backends/cpu/isa/table.inl — an instruction set's kernels, put together. Included last by
// scalar.cpp, avx2.cpp, ... after the vec_*.h that defines the vectors.
#include "backends/cpu/isa/math.inl"
// math.inl first: the others use it.
#include "backends/cpu/isa/elementwise.inl"
// What the KV cache holds, before what reads it.
#include "backends/cpu/isa/kv_convert.inl"
// Attention uses map() of elementwise.inl, too.
#include "backends/cpu/isa/attention_scores.inl"
#include "backends/cpu/isa/attention_values.inl"
#include "backends/cpu/isa/quantize.inl"
#include "backends/cpu/isa/softmax.inl"
// What the formats unpack to.
#include "backends/cpu/isa/steps.inl"
// The formats before the loop over them.
#include "backends/cpu/isa/formats.inl"
// The K formats reuse parts of the basic ones.
#include "backends/cpu/isa/formats_k.inl"
// The code-book formats reuse parts of both.
#include "backends/cpu/isa/formats_codebook.inl"
// Last:
#include "backends/cpu/isa/limits.inl"
#include "backends/cpu/isa/matmul.inl"

namespace lm::cpu {
namespace {

constexpr Kernels kernels_named(const char* name) {
  return {
      .name = name,
      .lanes = kLanes,
      .matmul = {matmul<FormatF32>,      matmul<FormatF16>,     matmul<FormatBf16>,
                 matmul<FormatQ4_0>,     matmul<FormatQ4_1>,    matmul<FormatQ5_0>,
                 matmul<FormatQ5_1>,     matmul<FormatQ8_0>,    matmul<FormatQ2_K>,
                 matmul<FormatQ3_K>,     matmul<FormatQ4_K>,    matmul<FormatQ5_K>,
                 matmul<FormatQ6_K>,     matmul<FormatIq4_NL>,  matmul<FormatIq4_XS>,
                 matmul<FormatMxfp4>,    matmul<FormatI4g<32>>, matmul<FormatI4g<64>>,
                 matmul<FormatI4g<128>>, matmul<FormatIq1_S>,   matmul<FormatIq1_M>,
                 matmul<FormatIq2_XXS>,  matmul<FormatIq2_XS>,  matmul<FormatIq2_S>,
                 matmul<FormatIq3_XXS>,  matmul<FormatIq3_S>,   matmul<FormatTq1_0>,
                 matmul<FormatTq2_0>},
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
      .max_queries = kMaxColumns,
      .scores_f32 = scores<F32Keys>,
      .scores_f16 = scores<F16Keys>,
      .scores_q8_0 = scores<Q8Keys>,
      .weighted_sums_f32 = weighted_sums<F32Values>,
      .weighted_sums_f16 = weighted_sums<F16Values>,
      .weighted_sums_i8 = weighted_sums<I8Values>,
      .quantize_query = quantize_query,
      .f16_to_f32 = f16_to_f32_row,
      .i8_to_f32 = i8_to_f32_row,
      .f32_to_f16 = f32_to_f16_row,
      .f32_to_q8_0 = f32_to_q8_0_row,
      .soft_cap = soft_cap,
      .softmax_part = softmax_part,
      .read_memory = read_memory,
      .dot_bytes = dot_bytes,
      .multiply_floats = multiply_floats,
  };
}

}  // namespace
}  // namespace lm::cpu
