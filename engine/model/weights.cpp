#include "engine/model/weights.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "engine/core/check.h"
#include "engine/core/text.h"
#include "engine/model/weight_plan.h"

namespace lm {
namespace {

// The divisors of the frequencies that a file brings along; empty when it has none.
Result<std::vector<float>> rope_factors(WeightPlan& plan, const RopeSpec& spec, int n_ctx) {
  using Scaling = RopeSpec::Scaling;
  const auto checked = [&](const std::string& name) -> Result<std::vector<float>> {
    std::vector<float> factors = LM_TRY(plan.numbers(name, spec.dims / 2));
    for (const float factor : factors) {
      if (!(std::isfinite(factor) && factor > 0)) {
        return Error{ErrorCode::bad_file,
                     concat(name, ": expected positive numbers, found ", factor)};
      }
    }
    return factors;
  };
  if (spec.scaling == Scaling::llama3) return checked("rope_freqs.weight");
  if (spec.scaling == Scaling::longrope) {
    const std::vector<float> long_factors = LM_TRY(checked("rope_factors_long.weight"));
    const std::vector<float> short_factors = LM_TRY(checked("rope_factors_short.weight"));
    return n_ctx > spec.n_ctx_original ? long_factors : short_factors;
  }
  return std::vector<float>();
}

// Layers of a room that rotate alike share one table.
struct RopeBinder {
  struct Key {
    RopeSpec spec;
    int room;
    bool operator==(const Key&) const = default;
  };
  WeightPlan& plan;
  ModelWeights& weights;
  std::vector<Key> keys;  // of weights.ropes

  Result<const RopeWeights*> get(const RopeSpec& spec, int n_ctx) {
    const Key key{spec, plan.room()};
    const auto found = std::find(keys.begin(), keys.end(), key);
    if (found != keys.end()) return weights.ropes[size_t(found - keys.begin())].get();
    const std::vector<float> factors = LM_TRY(rope_factors(plan, spec, n_ctx));
    auto rope = std::make_unique<RopeWeights>();
    rope->table = make_rope_table(spec, factors);
    plan.constant(rope->table.inv_freq, rope->inv_freq);
    keys.push_back(key);
    weights.ropes.push_back(std::move(rope));
    return weights.ropes.back().get();
  }
};

struct LayerBinder {
  WeightPlan& plan;
  const LayerSpec& spec;
  int layer;
  int64_t d_model;
  LayerWeights& to;

  std::string name(std::string_view rest) const { return concat("blk.", layer, ".", rest); }
  Status attention();
  Status qkv();
  Status dense_ffn();
  Status router();
  Status experts();
  Status ffn();
};

// Three matrices, or one with their rows in the order q, k, v (phi3).
Status LayerBinder::qkv() {
  const AttnSpec& a = spec.attn;
  AttnWeights& w = to.attn;
  const int64_t q = int64_t(a.n_heads) * a.head_dim, kv = int64_t(a.n_kv_heads) * a.head_dim;
  if (plan.has(name("attn_qkv.weight"))) {
    const WeightPlan::Slice matrices[] = {{q, &w.q}, {kv, &w.k}, {kv, &w.v}};
    const WeightPlan::Slice biases[] = {{q, &w.q_bias}, {kv, &w.k_bias}, {kv, &w.v_bias}};
    LM_TRY(plan.split_matrix(name("attn_qkv.weight"), d_model, matrices));
    return a.qkv_bias ? plan.split_vector(name("attn_qkv.bias"), biases) : ok();
  }
  LM_TRY(plan.matrix(name("attn_q.weight"), q, d_model, w.q));
  LM_TRY(plan.matrix(name("attn_k.weight"), kv, d_model, w.k));
  LM_TRY(plan.matrix(name("attn_v.weight"), kv, d_model, w.v));
  if (!a.qkv_bias) return ok();
  LM_TRY(plan.vector(name("attn_q.bias"), q, w.q_bias));
  LM_TRY(plan.vector(name("attn_k.bias"), kv, w.k_bias));
  return plan.vector(name("attn_v.bias"), kv, w.v_bias);
}

Status LayerBinder::attention() {
  const AttnSpec& a = spec.attn;
  AttnWeights& w = to.attn;
  plan.enter({PartId::Kind::attention, layer});
  LM_TRY(plan.vector(name("attn_norm.weight"), d_model, w.norm));
  LM_TRY(plan.optional_order(name("attn_norm.perm"), d_model, w.norm_order));
  LM_TRY(
      plan.optional_order(name("attn_output.perm"), int64_t(a.n_heads) * a.head_dim, w.out_order));
  LM_TRY(qkv());
  if (a.qk_norm) {
    LM_TRY(plan.vector(name("attn_q_norm.weight"), a.head_dim, w.q_norm));
    LM_TRY(plan.vector(name("attn_k_norm.weight"), a.head_dim, w.k_norm));
  }
  if (a.sinks) LM_TRY(plan.vector(name("attn_sinks.weight"), a.n_heads, w.sinks));
  LM_TRY(plan.matrix(name("attn_output.weight"), d_model, int64_t(a.n_heads) * a.head_dim, w.out));
  if (a.out_bias) LM_TRY(plan.vector(name("attn_output.bias"), d_model, w.out_bias));
  if (spec.norm.post) LM_TRY(plan.vector(name("post_attention_norm.weight"), d_model, w.post_norm));
  return ok();
}

Status LayerBinder::dense_ffn() {
  const int64_t d_ff = spec.ffn.d_ff;
  FfnWeights& w = to.ffn;
  if (plan.has(name("ffn_gate.weight"))) {
    LM_TRY(plan.matrix(name("ffn_gate.weight"), d_ff, d_model, w.gate));
    LM_TRY(plan.matrix(name("ffn_up.weight"), d_ff, d_model, w.up));
  } else {  // one matrix, the rows of gate first (phi3)
    const WeightPlan::Slice slices[] = {{d_ff, &w.gate}, {d_ff, &w.up}};
    LM_TRY(plan.split_matrix(name("ffn_up.weight"), d_model, slices));
  }
  LM_TRY(plan.matrix(name("ffn_down.weight"), d_model, d_ff, w.down));
  if (!spec.ffn.bias) return ok();
  LM_TRY(plan.vector(name("ffn_gate.bias"), d_ff, w.gate_bias));
  LM_TRY(plan.vector(name("ffn_up.bias"), d_ff, w.up_bias));
  return plan.vector(name("ffn_down.bias"), d_model, w.down_bias);
}

Status LayerBinder::experts() {
  const MoeSpec& moe = spec.ffn.moe;
  const int64_t n = moe.n_experts, d_ff = moe.d_ff;
  const double share = double(moe.top_k) / moe.n_experts;
  FfnWeights& w = to.ffn;
  plan.enter({PartId::Kind::experts, layer});
  const DType gate =
      LM_TRY(plan.expert_matrices(name("ffn_gate"), n, d_ff, d_model, share, w.gate));
  const DType up = LM_TRY(plan.expert_matrices(name("ffn_up"), n, d_ff, d_model, share, w.up));
  if (gate != up) {  // see MoeFfn
    return Error{ErrorCode::unsupported,
                 concat("expected the experts of ", name("ffn_up"), " in ", dtype_name(gate),
                        " as those of ffn_gate, found ", dtype_name(up))};
  }
  LM_TRY(plan.expert_matrices(name("ffn_down"), n, d_model, d_ff, share, w.down));
  if (!moe.bias) return ok();
  LM_TRY(plan.expert_vectors(name("ffn_gate_exps.bias"), n, d_ff, w.gate_bias));
  LM_TRY(plan.expert_vectors(name("ffn_up_exps.bias"), n, d_ff, w.up_bias));
  return plan.expert_vectors(name("ffn_down_exps.bias"), n, d_model, w.down_bias);
}

Status LayerBinder::router() {
  const MoeSpec& moe = spec.ffn.moe;
  LM_TRY(plan.matrix(name("ffn_gate_inp.weight"), moe.n_experts, d_model, to.ffn.router));
  if (!moe.bias) return ok();
  return plan.vector(name("ffn_gate_inp.bias"), moe.n_experts, to.ffn.router_bias);
}

Status LayerBinder::ffn() {
  plan.enter({PartId::Kind::ffn, layer});
  // gpt-oss calls the norm before its experts by the name of the one after the attention.
  const bool own_name = spec.norm.post || plan.has(name("ffn_norm.weight"));
  LM_TRY(plan.vector(name(own_name ? "ffn_norm.weight" : "post_attention_norm.weight"), d_model,
                     to.ffn.norm));
  LM_TRY(plan.optional_order(name("ffn_norm.perm"), d_model, to.ffn.norm_order));
  if (spec.norm.post) LM_TRY(plan.vector(name("post_ffw_norm.weight"), d_model, to.ffn.post_norm));
  if (spec.ffn.moe.n_experts == 0) return dense_ffn();
  LM_TRY(router());
  return experts();
}

Status bind_layer(WeightPlan& plan, const ModelConfig& config, int i, RopeBinder& ropes, int n_ctx,
                  ModelWeights& weights) {
  const LayerSpec& spec = config.layers[size_t(i)];
  LayerWeights& layer = weights.layers[size_t(i)];
  LayerBinder binder{plan, spec, i, config.d_model, layer};
  LM_TRY(binder.attention());
  layer.attn.rope = LM_TRY(ropes.get(spec.attn.rope, n_ctx));
  return binder.ffn();
}

bool has_orders(const ModelWeights& weights) {
  if (weights.output_norm_order) return true;
  return std::ranges::any_of(weights.layers, [](const LayerWeights& layer) {
    return layer.attn.norm_order || layer.attn.out_order || layer.ffn.norm_order;
  });
}

constexpr const char* kEmbedding = "token_embd.weight";
constexpr const char* kOutput = "output.weight";  // in a file whose output is not the embedding

Status bind_model(WeightPlan& plan, const ModelConfig& config, int n_ctx, ModelWeights& weights) {
  plan.enter({PartId::Kind::embedding});
  LM_TRY(plan.table(kEmbedding, config.n_vocab, config.d_model, weights.embedding));

  weights.layers.resize(config.layers.size());
  RopeBinder ropes{plan, weights, {}};
  for (size_t i = 0; i < config.layers.size(); ++i) {
    LM_TRY(bind_layer(plan, config, int(i), ropes, n_ctx, weights));
  }

  plan.enter({PartId::Kind::output});
  LM_TRY(plan.vector("output_norm.weight", config.d_model, weights.output_norm));
  LM_TRY(plan.optional_order("output_norm.perm", config.d_model, weights.output_norm_order));
  LM_TRY(plan.matrix(plan.has(kOutput) ? kOutput : kEmbedding, config.n_vocab, config.d_model,
                     weights.output));
  return plan.check_all_used();
}

}  // namespace

Result<WeightList> list_weights(const gguf::File& file, const ModelConfig& config) {
  ModelWeights unloaded;
  WeightPlan plan(file, Placement(config.layers.size()), unloaded);
  LM_TRY(bind_model(plan, config, config.n_ctx_train, unloaded));
  return WeightList{plan.list(), !plan.has(kOutput)};
}

uint64_t rope_table_bytes(const ModelConfig& config, const Placement& placement, int room) {
  std::vector<const RopeSpec*> seen;
  uint64_t bytes = 0;
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const RopeSpec& rope = config.layers[i].attn.rope;
    const auto is_it = [&](const RopeSpec* other) { return *other == rope; };
    if (placement.attention(i) != room || std::ranges::any_of(seen, is_it)) continue;
    seen.push_back(&rope);
    bytes += uint64_t(rope.dims / 2) * sizeof(float);
  }
  return bytes;
}

Result<std::unique_ptr<ModelWeights>> load_weights(const gguf::File& file,
                                                   const ModelConfig& config,
                                                   std::span<const ModelRoom> rooms,
                                                   const Placement& placement, int n_ctx,
                                                   const LoadProgress& progress) {
  LM_CHECK(placement.n_layers() == config.layers.size());
  auto weights = std::make_unique<ModelWeights>();
  WeightPlan plan(file, placement, *weights);
  LM_TRY(bind_model(plan, config, n_ctx, *weights));
  LM_TRY(plan.load(rooms, progress));
  weights->has_orders = has_orders(*weights);
  return weights;
}

Result<std::unique_ptr<ModelWeights>> load_layer(const gguf::File& layer_file,
                                                 const gguf::File& model_file,
                                                 const ModelConfig& config, int layer,
                                                 Backend& backend, int n_ctx) {
  const ModelRoom room{&backend};
  auto weights = std::make_unique<ModelWeights>();
  weights->layers.resize(config.layers.size());
  const Placement alone(config.layers.size());
  WeightPlan plan(layer_file, alone, *weights), rope_plan(model_file, alone, *weights);
  RopeBinder ropes{rope_plan, *weights, {}};
  LM_TRY(bind_layer(plan, config, layer, ropes, n_ctx, *weights));
  LM_TRY(plan.load(std::span(&room, 1), {}));
  LM_TRY(rope_plan.load(std::span(&room, 1), {}));
  weights->has_orders = has_orders(*weights);
  return weights;
}

Result<std::unique_ptr<ModelWeights>> load_embedding(const gguf::File& file,
                                                     const ModelConfig& config, Backend& backend) {
  const ModelRoom room{&backend};
  auto weights = std::make_unique<ModelWeights>();
  WeightPlan plan(file, Placement(), *weights);
  LM_TRY(plan.table(kEmbedding, config.n_vocab, config.d_model, weights->embedding));
  LM_TRY(plan.load(std::span(&room, 1), {}));
  return weights;
}

}  // namespace lm
