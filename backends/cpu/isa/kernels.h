// backends/cpu/isa/kernels.h — the function table that each instruction set fills in.
// Every table computes the same things in the same order; tables differ in lanes and in whether
// a*b+c is fused. This header and what an ISA file includes hold plain data only: an inline
// function compiled with -mavx512f could be the one that the linker keeps for everybody.
#pragma once
#include <cstdint>

namespace lm::cpu {

// Weight formats that the matmul kernels read directly. A "panel" holds `lanes` rows of a matrix,
// interleaved so that lane r of a vector belongs to row r: each field of a block is cut into units
// of 4 bytes (f16, bf16: 2; an exponent: 1), and unit i of all rows lies before unit i + 1 of any.
// With one lane a panel is the row as the file stores it.
// clang-format off
enum class WeightFormat : uint8_t {
  // Numbers, multiplied with f32 activations.
  f32, f16, bf16,
  // Integers with scales, multiplied with ActBlocks.
  q4_0, q4_1, q5_0, q5_1, q8_0, q2_K, q3_K, q4_K, q5_K, q6_K, iq4_NL, iq4_XS, mxfp4,
  i4g32, i4g64, i4g128,
  // Likewise, but unpacked to bytes first: best given many columns at once.
  iq1_S, iq1_M, iq2_XXS, iq2_XS, iq2_S, iq3_XXS, iq3_S, tq1_0, tq2_0
};
// clang-format on
inline constexpr int kWeightFormats = 28;
inline constexpr int kMostColumns = 256;  // of one Matmul
// Up to so many columns are multiplied by weights in registers, where a table and a format do that;
// for more, weights are unpacked once.
inline constexpr int kStreamedColumns = 16;

// A dot product of small integers is counted in the mantissa of this number, so that its bits are
// kDotBias + dot and one fused multiply-add both converts and scales it: exact for |dot| < 2^22.
inline constexpr float kDotBiasValue = 12582912.0f;  // 1.5 · 2^23
inline constexpr int32_t kDotBias = 0x4B400000;      // its bits

// 32 activations as the integer kernels read them: x[i] ≈ d · q[i], d = max|x| / 127. With them,
// what dots start from: a weight stored as w + offset needs offset · Σq less.
struct alignas(64) ActBlock {
  float d;
  float d_sum;          // d · Σ q: what a weight's minimum is multiplied by
  float d_sum_hi;       // d · Σ q[16..32)
  int32_t start_8;      // kDotBias - 8 Σ q
  int32_t start_64;     // kDotBias - 64 Σ q
  int32_t start_128;    // kDotBias - 128 Σ q
  int32_t start_lo_32;  // kDotBias - 32 Σ q[0..16)
  int32_t start_hi_32;  // kDotBias - 32 Σ q[16..32)
  int8_t q[32];
};

// acc[c][p · lanes + r] (+)= Σ_k weight[p · lanes + r][k] · x_c[k], k in order.
struct Matmul {
  const uint8_t* panels;
  int64_t panel_bytes;  // distance between panels
  int n_panels;
  int64_t k;             // columns of the weight
  const void* const* x;  // one pointer a column: const float[k], or const ActBlock[k / 32]
  int n_cols;
  float* acc;  // [n_cols][acc_stride]
  int64_t acc_stride;
  bool resume;  // continue from acc; otherwise from 0
};

// Softmax over a part of the keys: m = max s, l = Σ exp(s - m).
struct SoftmaxPart {
  float m, l;
};

inline constexpr int kSegment = 256;  // keys that attention reduces together

// Keys, or their values, [first, first + n) of a segment that lie together in a block of the cache
// (kv_layout.h) or in scratch.
struct KvRun {
  const uint8_t* data;      // K: row 0 of key `first`; V: the row of key `first`
  const uint8_t* scales;    // q8_0: the first scale of key `first`
  const uint8_t* prefetch;  // as many bytes, in one piece, that will be read soon
  int first, n;
};

// out[i][j] = factors[i] · Σ_d query_i[d] · key_j[d], d in order; lanes are keys.
struct Scores {
  const void* queries;  // float [head_dim][n_queries], or for q8_0 int16 [head_dim/2][n_queries][2]
  int n_queries;        // <= max_queries
  int head_dim;
  const KvRun* keys;     // n is a multiple of lanes
  int n_keys;            // runs
  int64_t stride;        // keys in a row of K
  const float* factors;  // [n_queries]
  float* out;            // [n_queries][kSegment]
};

// acc[i][d] += Σ_j weights[i][j] · value_j[d], j in [first, last) in order; lanes are dimensions.
struct WeightedSums {
  const float* weights;  // [n_queries][kSegment]
  int n_queries;         // <= max_queries
  int head_dim;
  const KvRun* values;
  int n_values;
  int first, last;
  int64_t stride;  // keys in a row of scales; 0: no scales. A weight is multiplied by its scale.
  float* acc;      // [n_queries][head_dim]
};

using GluKernel = void (*)(const float* gate, const float* up, float limit, int64_t n, float* out);

struct Kernels {
  const char* name;
  int lanes;
  void (*matmul[kWeightFormats])(const Matmul& op);
  // n is a multiple of 32.
  void (*quantize)(const float* x, int64_t n, ActBlock* out);

  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t n, float* out);
  GluKernel silu, gelu_tanh, gelu_erf, swiglu_oai;
  float (*exp)(float x);
  void (*add)(const float* a, const float* b, int64_t n, float* out);
  // out[i] = out[i] · a + x[i] · b
  void (*scale_add)(float* out, float a, const float* x, float b, int64_t n);
  // Turns the pairs (x[i], x[i + n]) or (x[2i], x[2i + 1]), i < n, by the angle with that cos, sin.
  void (*rotate_halves)(float* x, const float* cos, const float* sin, int64_t n);
  void (*rotate_pairs)(float* x, const float* cos, const float* sin, int64_t n);

  int max_queries;  // that an attention kernel carries at once
  void (*scores_f32)(const Scores& op);
  void (*scores_f16)(const Scores& op);
  void (*scores_q8_0)(const Scores& op);
  void (*weighted_sums_f32)(const WeightedSums& op);
  void (*weighted_sums_f16)(const WeightedSums& op);
  void (*weighted_sums_i8)(const WeightedSums& op);
  // out = round(x / d) with d = max|x| / 32767, returned; n is even.
  float (*quantize_query)(const float* x, int64_t n, int16_t* out);
  void (*f16_to_f32)(const void* src, int64_t n, float* out);
  void (*i8_to_f32)(const void* src, int64_t n, float* out);
  void (*f32_to_f16)(const float* x, int64_t n, uint16_t* out);
  // Blocks of 32: x ≈ scale · q.
  void (*f32_to_q8_0)(const float* x, int64_t n, uint16_t* scales, int8_t* q);
  void (*soft_cap)(float* s, int64_t n, float cap);  // s = cap · tanh(s / cap)
  // s[i] = exp(s[i] - m)
  SoftmaxPart (*softmax_part)(float* s, int n);

  // Loops that reach this instruction set's limits (limits.inl).
  uint32_t (*read_memory)(const void* p, int64_t bytes);
  int64_t (*dot_bytes)(int64_t rounds, uint32_t& checksum);
  int64_t (*multiply_floats)(int64_t rounds, uint32_t& checksum);
};

// Matmuls that a processor with a few more instructions can have faster; null: none.
struct MatmulTable {
  void (*of[kWeightFormats])(const Matmul& op);
};

// The tables in this executable, slowest first; each is the one symbol of its object file.
const Kernels& scalar_kernels();
#if defined(__x86_64__)
const Kernels& avx2_kernels();            // AVX2, FMA, F16C
const Kernels& avxvnni_kernels();         // and AVX-VNNI
const Kernels& avx512_kernels();          // AVX-512 F, BW, DQ, VL, VNNI
const MatmulTable& avx512vbmi_kernels();  // and VBMI, GFNI: what differs from avx512
#endif

}  // namespace lm::cpu
