// backends/cpu/ops.h — the operations of Backend as functions of a Context; one file per kind.
#pragma once
#include <span>

#include "backends/backend.h"
#include "backends/cpu/isa/kernels.h"
#include "backends/cpu/workspace.h"
#include "engine/core/thread_pool.h"

namespace lm::cpu {

struct Context {
  const Kernels& kernels;
  ThreadPool& pool;
  Workspace& workspace;
};

void embed(const Context& context, Tensor table, Tensor ids, float scale, Tensor out);
void rms_norm(const Context& context, const RmsNorm& op);
void rope(const Context& context, const Rope& op, const StepView& step);
void glu(const Context& context, const Glu& op);
void add(const Context& context, Tensor a, Tensor b, Tensor out);
void gather_rows(const Context& context, Tensor x, Tensor row_ids, Tensor out);
void gather_columns(const Context& context, Tensor x, Tensor columns, Tensor out);

void top_candidates(const Context& context, const TopCandidates& op);
void draw_tokens(const Context& context, const DrawTokens& op);

// Linears that read the same x: it is quantized once, and all are one parallel section.
void linears(const Context& context, std::span<const Linear> ops);

void kv_write(const Context& context, const KvWrite& op, const StepView& step);
void attention(const Context& context, const Attention& op, const StepView& step);

void moe_route(const Context& context, const MoeRoute& op);
void moe_ffn(const Context& context, const MoeFfn& op);

// The activation of an expert's or a layer's hidden row.
GluKernel glu_kernel(const Kernels& kernels, Act act);

inline float* f32(Tensor t) {
  return reinterpret_cast<float*>(t.data());
}
inline const int32_t* i32(Tensor t) {
  return reinterpret_cast<const int32_t*>(t.data());
}
inline float* f32_row(Tensor t, int64_t row) {
  return reinterpret_cast<float*>(t.data() + row * t.row_bytes);
}
// The view of row r, col 0 as floats apart: how far rows of an f32 tensor lie.
inline int64_t f32_stride(Tensor t) {
  return t.row_bytes / 4;
}

}  // namespace lm::cpu
