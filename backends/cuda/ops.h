// backends/cuda/ops.h — the operations of Backend as functions of a Context; one file per kind.
// Each *_scratch_bytes says what its operation needs in its region for the largest step; each
// prepare_* sets what its kernels need set once (allow_shared_bytes).
#pragma once
#include <span>

#include "backends/backend.h"
#include "backends/cuda/context.h"

namespace lm::cuda {

// embed.cu, elementwise.cu, rope.cu
void embed(const Context& context, Tensor table, Tensor ids, float scale, Tensor out);
void rms_norm(const Context& context, const RmsNorm& op);
void rope(const Context& context, const Rope& op, const StepView& step);
void glu(const Context& context, const Glu& op);
void add(const Context& context, Tensor a, Tensor b, Tensor out);
void gather_rows(const Context& context, Tensor x, Tensor row_ids, Tensor out);
void gather_columns(const Context& context, Tensor x, Tensor columns, Tensor out);

// top_candidates.cu, draw_tokens.cu
size_t sampling_scratch_bytes(const StepLimits& limits);
void top_candidates(const Context& context, const TopCandidates& op);
void draw_tokens(const Context& context, const DrawTokens& op);

// linear.cu: any matrix times up to kMostDecodeRows rows, and matrices of planes or halves times up
// to kMostPassedRows, of which each has the bits that it has alone; more rows go to gemm.cu.
inline constexpr int kMostDecodeRows = 16;
inline constexpr int kMostPassedRows = 128;
size_t linear_scratch_bytes(const StepLimits& limits);
void linears(const Context& context, std::span<const Linear> ops);
void norm_linears(const Context& context, const RmsNorm& norm, std::span<const Linear> ops);
void norm_glu(const Context& context, const RmsNorm& norm, const Linear& gate, const Linear& up,
              const Glu& glu);

// gemm.cu: any weights of one x, any number of rows, by tensor cores (f16, f32 sums). Matrices that
// are given together share what is made of x and a launch.
Status prepare_gemm(const DeviceFacts& facts);
size_t gemm_scratch_bytes(const StepLimits& limits);
void gemm(const Context& context, std::span<const Linear> ops);

// kv_write.cu, rope_kv_write.cu, attention.cu
void kv_write(const Context& context, const KvWrite& op, const StepView& step);
void rope_kv_write(const Context& context, const HeadNorms& norms, const Rope& rope,
                   const KvWrite& write, const StepView& step);
Status prepare_attention(const DeviceFacts& facts);
size_t attention_scratch_bytes(const StepLimits& limits);
size_t attention_ticket_bytes(const StepLimits& limits);  // zero between operations
void attention(const Context& context, const Attention& op, const StepView& step);

// moe_route.cu, moe.cu
void moe_route(const Context& context, const MoeRoute& op);
size_t moe_scratch_bytes(const StepLimits& limits);
void moe_ffn(const Context& context, const MoeFfn& op);

inline float* f32(Tensor t) {
  return reinterpret_cast<float*>(t.data());
}
inline const int32_t* i32(Tensor t) {
  return reinterpret_cast<const int32_t*>(t.data());
}
// How far rows of an f32 tensor lie apart, in floats.
inline int64_t f32_stride(Tensor t) {
  return t.row_bytes / 4;
}

}  // namespace lm::cuda
