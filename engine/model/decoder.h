// engine/model/decoder.h — one layer of a decoder-only transformer, as calls on a backend.
#pragma once
#include "backends/backend.h"
#include "engine/model/config.h"
#include "engine/model/model.h"
#include "engine/model/weights.h"

namespace lm {

// The activations of a step, f32 [n_tokens, ..] unless said otherwise.
struct Activations {
  Tensor x;               // [.., d_model]  the residual stream
  Tensor h;               // [.., d_model]  x normalised, or a branch before it is added
  Tensor reordered;       // [.., d_model or n_heads * head_dim]  columns in a matrix's order
  Tensor q, attn;         // [.., n_heads * head_dim]
  Tensor k, v;            // [.., n_kv_heads * head_dim]
  Tensor gate, up;        // [.., d_ff of the widest layer]
  Tensor router;          // [.., n_experts]
  Tensor expert_ids;      // i32 [.., top_k]
  Tensor expert_weights;  // [.., top_k]
  Tensor last;            // [n_logits, d_model]  rows whose logits are wanted
};

// `x`, or its columns in `order` where there is one.
Tensor in_order(Tensor x, Tensor order, const Activations& a);

// x += attention(x), then x += ffn(x).
void decoder_layer(const LayerSpec& spec, const LayerWeights& weights, const KvLayer& kv,
                   const StepView& step, const Activations& a);

}  // namespace lm
