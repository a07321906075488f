#include "engine/model/decoder.h"

namespace lm {
namespace {

// [n, heads * head_dim] as {1, n, heads, head_dim}.
Tensor by_head(Tensor t, int n_heads, int head_dim) {
  const int64_t n = t.rows();
  t = reshaped(t, n * n_heads, head_dim);
  t.shape = {1, n, n_heads, head_dim};
  return t;
}

// The first n * cols numbers of `t` as [n, cols]: layers may have feed-forwards of different width.
Tensor narrowed(Tensor t, int64_t cols) {
  t.shape[3] = cols;
  t.row_bytes = int64_t(row_bytes(t.dtype, cols));
  return t;
}

}  // namespace

Tensor in_order(Tensor x, Tensor order, const Activations& a) {
  if (!order) return x;
  const Tensor out = narrowed(first_rows(a.reordered, x.rows()), x.cols());
  x.room().gather_columns(x, order, out);
  return out;
}

namespace {

// x += W y + b, or with a norm behind the branch (gemma) x += norm(W y + b).
void add_branch(Backend& b, Tensor y, Tensor weight, Tensor bias, Tensor post_norm, float eps,
                const Activations& a) {
  if (!post_norm) {
    b.linear({.x = y, .weight = weight, .out = a.x, .bias = bias, .accumulate = true});
    return;
  }
  b.linear({.x = y, .weight = weight, .out = a.h, .bias = bias});
  b.rms_norm({.x = a.h, .weight = post_norm, .out = a.h, .eps = eps});
  b.add(a.x, a.h, a.x);
}

void attention_block(const LayerSpec& spec, const AttnWeights& w, const KvLayer& kv,
                     Passage& passage) {
  const RoomWork& work = passage.enter(w.norm);
  const StepView& step = kv.windowed ? work.step.windowed : work.step.all;
  const Activations& a = work.a;
  Backend& b = a.x.room();
  const AttnSpec& s = spec.attn;
  const Linear projections[] = {{.x = a.h, .weight = w.q, .out = a.q, .bias = w.q_bias},
                                {.x = a.h, .weight = w.k, .out = a.k, .bias = w.k_bias},
                                {.x = a.h, .weight = w.v, .out = a.v, .bias = w.v_bias}};
  b.norm_linears(
      {.x = in_order(a.x, w.norm_order, a), .weight = w.norm, .out = a.h, .eps = spec.norm.eps},
      projections);
  const Tensor q = by_head(a.q, s.n_heads, s.head_dim),
               out = by_head(a.attn, s.n_heads, s.head_dim);
  const Tensor k = by_head(a.k, s.n_kv_heads, s.head_dim),
               v = by_head(a.v, s.n_kv_heads, s.head_dim);
  const HeadNorms norms = {.q_weight = w.q_norm, .k_weight = w.k_norm, .eps = spec.norm.eps};
  b.rope_kv_write(s.qk_norm ? norms : HeadNorms{},
                  {.q = q,
                   .k = k,
                   .inv_freq = w.rope->inv_freq,
                   .neox = s.rope.neox,
                   .magnitude = w.rope->table.magnitude},
                  {.k = k, .v = v, .k_cache = kv.k, .v_cache = kv.v}, step);
  b.attention({.q = q,
               .k_cache = kv.k,
               .v_cache = kv.v,
               .out = out,
               .scale = s.scale,
               .softcap = s.softcap,
               .window = s.window,
               .sinks = w.sinks},
              step);
  add_branch(b, in_order(a.attn, w.out_order, a), w.out, w.out_bias, w.post_norm, spec.norm.eps, a);
}

// x += W_down (act(W_gate h) * W_up h),  h = norm(x)
void ffn_block(const LayerSpec& spec, const FfnWeights& w, Passage& passage) {
  const Activations& a = passage.enter(w.norm).a;
  Backend& b = a.x.room();
  const FfnSpec& s = spec.ffn;
  const Tensor gate = narrowed(a.gate, s.d_ff), up = narrowed(a.up, s.d_ff);
  b.norm_glu(
      {.x = in_order(a.x, w.norm_order, a), .weight = w.norm, .out = a.h, .eps = spec.norm.eps},
      {.x = a.h, .weight = w.gate, .out = gate, .bias = w.gate_bias},
      {.x = a.h, .weight = w.up, .out = up, .bias = w.up_bias},
      {.gate = gate, .up = up, .out = gate, .act = s.act, .limit = s.limit});
  add_branch(b, gate, w.down, w.down_bias, w.post_norm, spec.norm.eps, a);
}

// x += Σ_e weight_e · ffn_e(h) over the experts e that the router chooses for each row
void moe_block(const LayerSpec& spec, const FfnWeights& w, Passage& passage) {
  const Activations& a = passage.enter(w.norm).a;
  Backend& b = a.x.room();
  const MoeSpec& s = spec.ffn.moe;
  const Linear router[] = {{.x = a.h, .weight = w.router, .out = a.router, .bias = w.router_bias}};
  b.norm_linears(
      {.x = in_order(a.x, w.norm_order, a), .weight = w.norm, .out = a.h, .eps = spec.norm.eps},
      router);
  b.moe_route({.logits = a.router,
               .ids = a.expert_ids,
               .weights = a.expert_weights,
               .top_k = s.top_k,
               .sigmoid = s.sigmoid,
               .normalise = s.normalise,
               .scale = s.scale});
  const Activations& e = passage.enter(w.gate).a;  // the experts may be elsewhere
  passage.carry(a.h, e.h);
  passage.carry(a.expert_ids, e.expert_ids);
  passage.carry(a.expert_weights, e.expert_weights);
  e.x.room().moe_ffn({.x = e.h,
                      .ids = e.expert_ids,
                      .weights = e.expert_weights,
                      .out = e.x,
                      .gate = w.gate,
                      .up = w.up,
                      .down = w.down,
                      .act = spec.ffn.act,
                      .limit = spec.ffn.limit,
                      .gate_bias = w.gate_bias,
                      .up_bias = w.up_bias,
                      .down_bias = w.down_bias});
}

}  // namespace

void decoder_layer(const LayerSpec& spec, const LayerWeights& weights, const KvLayer& kv,
                   Passage& passage) {
  attention_block(spec, weights.attn, kv, passage);
  if (spec.ffn.moe.n_experts > 0) {
    moe_block(spec, weights.ffn, passage);
  } else {
    ffn_block(spec, weights.ffn, passage);
  }
}

}  // namespace lm
