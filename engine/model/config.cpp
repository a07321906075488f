// engine/model/config.cpp — from a file's metadata to a ModelConfig. Key names and defaults: GGUF
// specification (ggml docs/gguf.md, "LLM") and the files that the common converters write.
#include "engine/model/config.h"

#include <cmath>

#include "engine/core/text.h"
#include "engine/model/families.h"
#include "engine/model/hyperparameters.h"
#include "engine/model/model.h"

namespace lm {
namespace {

// Far above every published model, and small enough that no product of two of them overflows.
constexpr int64_t kMaxLayers = 1024, kMaxHeads = 4096, kMaxHeadDim = 8192, kMaxExperts = 4096;
constexpr int64_t kMaxWidth = 1 << 20, kMaxVocab = 1 << 24, kMaxContext = 1 << 30;

Error bad(std::string message) {
  return Error{ErrorCode::bad_file, std::move(message)};
}

// What all layers have in common, and what may differ from one to the next.
struct Reader {
  const gguf::File& file;
  const Family& family;
  Hyperparameters keys;
  int n_layers = 0, d_model = 0, n_ctx = 0;

  bool in_layer(int layer, std::string_view tensor) const {
    return file.tensor(concat("blk.", layer, ".", tensor)) != nullptr;
  }

  Result<int> vocabulary() const;
  Result<RopeSpec> rope(int head_dim) const;
  Status rope_scaling(RopeSpec& spec) const;
  Result<AttnSpec> attention() const;
  Result<std::vector<bool>> windowed() const;
  Result<MoeSpec> experts() const;
};

Result<int> Reader::vocabulary() const {
  const gguf::Value* tokens = file.value("tokenizer.ggml.tokens");
  const uint64_t listed = tokens != nullptr ? tokens->count : 0;
  if (listed > uint64_t(kMaxVocab)) {
    return bad(
        concat("tokenizer.ggml.tokens: expected at most ", kMaxVocab, " tokens, found ", listed));
  }
  const int n_tokens = int(listed);
  const gguf::TensorInfo* embedding = file.tensor("token_embd.weight");
  if (embedding == nullptr) {  // a vocabulary without a model
    return keys.count_or("vocab_size", n_tokens, 0, kMaxVocab);
  }
  const int64_t n_rows = embedding->dims[1];
  if (n_rows < 1 || n_rows > kMaxVocab) {
    return bad(concat("token_embd.weight: expected 1 to ", kMaxVocab, " rows, found ", n_rows));
  }
  if (n_tokens > n_rows) {
    return bad(concat("expected an embedding for each of the ", n_tokens,
                      " tokens of the vocabulary, found ", n_rows, " rows in token_embd.weight"));
  }
  return int(n_rows);
}

Status Reader::rope_scaling(RopeSpec& spec) const {
  using Scaling = RopeSpec::Scaling;
  const std::string_view type = LM_TRY(keys.str_or("rope.scaling.type", ""));
  const float linear = LM_TRY(keys.number_or("rope.scale_linear", 1, 0, 1e6f));
  const float factor = LM_TRY(keys.number_or("rope.scaling.factor", linear, 0, 1e6f));
  spec.factor = factor == 0 ? 1 : factor;  // 0 is how some files write "none"
  spec.n_ctx_original =
      LM_TRY(keys.count_or("rope.scaling.original_context_length", n_ctx, 2, kMaxContext));
  spec.yarn_beta_fast = LM_TRY(keys.number_or("rope.scaling.yarn_beta_fast", 32, 1e-3f, 1e6f));
  spec.yarn_beta_slow = LM_TRY(keys.number_or("rope.scaling.yarn_beta_slow", 1, 1e-3f, 1e6f));
  spec.yarn_truncate = family.yarn_truncate;
  spec.attn_factor = LM_TRY(keys.number_or("rope.scaling.attn_factor", 0, 0, 1e3f));
  if (type == "longrope" || file.tensor("rope_factors_long.weight") != nullptr) {
    spec.scaling = Scaling::longrope;
    spec.factor = float(double(n_ctx) / spec.n_ctx_original);
  } else if (type == "yarn") {
    spec.scaling = Scaling::yarn;
  } else if (type.empty() || type == "linear") {
    spec.scaling = spec.factor != 1 ? Scaling::linear : Scaling::none;
  } else if (type != "none") {
    return Error{
        ErrorCode::unsupported,
        concat(keys.key("rope.scaling.type"), ": expected none, linear, yarn or longrope, found '",
               printable(type), "'")};
  }
  if (spec.scaling == Scaling::none && file.tensor("rope_freqs.weight") != nullptr)
    spec.scaling = Scaling::llama3;
  return ok();
}

Result<RopeSpec> Reader::rope(int head_dim) const {
  RopeSpec spec;
  spec.neox = family.neox;
  spec.dims = LM_TRY(keys.count_or("rope.dimension_count", head_dim, 2, head_dim));
  if (spec.dims % 2 != 0) {
    return bad(
        concat(keys.key("rope.dimension_count"), ": expected an even number, found ", spec.dims));
  }
  spec.theta = LM_TRY(keys.number_or("rope.freq_base", 1e4f, 1.001f, 1e15f));
  LM_TRY(rope_scaling(spec));
  return spec;
}

Result<AttnSpec> Reader::attention() const {
  AttnSpec a;
  // Files may list heads by layer; one KV cache of one shape serves all layers here.
  const std::vector<int> heads =
      LM_TRY(keys.per_layer("attention.head_count", n_layers, 1, kMaxHeads));
  std::vector<int> kv_heads = heads;
  if (keys.has("attention.head_count_kv")) {
    kv_heads = LM_TRY(keys.per_layer("attention.head_count_kv", n_layers, 1, kMaxHeads));
  }
  for (size_t i = 1; i < heads.size(); ++i) {
    if (heads[i] != heads[0] || kv_heads[i] != kv_heads[0]) {
      return Error{
          ErrorCode::unsupported,
          concat(keys.key("attention.head_count"),
                 ": expected every layer to have as many heads, found layer ", i, " different")};
    }
  }
  a.n_heads = heads[0];
  a.n_kv_heads = kv_heads[0];
  if (a.n_heads % a.n_kv_heads != 0) {
    return bad(concat(keys.key("attention.head_count_kv"), ": expected a divisor of ", a.n_heads,
                      " heads, found ", a.n_kv_heads));
  }
  if (!keys.has("attention.key_length") && d_model % a.n_heads != 0) {
    return bad(concat(keys.key("embedding_length"), ": expected a multiple of ", a.n_heads,
                      " heads, found ", d_model));
  }
  a.head_dim = LM_TRY(keys.count_or("attention.key_length", d_model / a.n_heads, 1, kMaxHeadDim));
  const int value_dim = LM_TRY(keys.count_or("attention.value_length", a.head_dim, 1, kMaxHeadDim));
  if (value_dim != a.head_dim) {
    return Error{ErrorCode::unsupported,
                 concat(keys.key("attention.value_length"), ": expected ", a.head_dim,
                        " as attention.key_length, found ", value_dim)};
  }
  a.qk_norm = family.qk_norm;
  a.sinks = family.sinks;
  a.scale = family.attn_scale != nullptr
                ? family.attn_scale(d_model, a.n_heads, a.head_dim, n_layers)
                : float(1 / std::sqrt(double(a.head_dim)));
  a.scale = LM_TRY(keys.number_or("attention.scale", a.scale, 1e-6f, 1e6f));
  a.softcap = LM_TRY(keys.number_or("attn_logit_softcapping", 0, 0, 1e6f));
  if (a.head_dim < 2)
    return bad(concat("expected heads of 2 dimensions or more, found ", a.head_dim));
  a.rope = LM_TRY(rope(a.head_dim));
  return a;
}

Result<std::vector<bool>> Reader::windowed() const {
  constexpr std::string_view kPattern = "attention.sliding_window_pattern";
  if (keys.is_array(kPattern)) return keys.flags(kPattern, n_layers);
  const int period = LM_TRY(keys.count_or(kPattern, family.window_period, 0, kMaxLayers));
  std::vector<bool> flags(static_cast<size_t>(n_layers));
  for (int i = 0; i < n_layers; ++i) flags[size_t(i)] = period == 0 || i % period < period - 1;
  return flags;
}

Result<MoeSpec> Reader::experts() const {
  MoeSpec moe;
  moe.n_experts = family.experts ? LM_TRY(keys.count("expert_count", 1, kMaxExperts))
                                 : LM_TRY(keys.count_or("expert_count", 0, 0, kMaxExperts));
  if (moe.n_experts == 0) return moe;
  moe.top_k = LM_TRY(keys.count("expert_used_count", 1, moe.n_experts));
  moe.d_ff = LM_TRY(keys.count_or("expert_feed_forward_length", 0, 0, kMaxWidth));
  if (moe.d_ff == 0) moe.d_ff = LM_TRY(keys.count("feed_forward_length", 1, kMaxWidth));  // Mixtral
  moe.normalise = LM_TRY(keys.boolean_or("expert_weights_norm", true));
  moe.scale = LM_TRY(keys.number_or("expert_weights_scale", 1, 0, 1e6f));
  if (moe.scale == 0) moe.scale = 1;  // 0 is how some files write "none"
  moe.bias = family.moe_bias;
  const int gating = LM_TRY(
      keys.count_or("expert_gating_func", 0, 0, 3));  // softmax, sigmoid, softmax of the chosen
  moe.sigmoid = gating == 2;
  if (gating == 3)
    moe.normalise = true;  // the softmax of the chosen is the normalised softmax of all
  return moe;
}

Error unknown_architecture(std::string_view name) {
  std::string known;
  for (const std::string_view one : known_architectures())
    known += (known.empty() ? "" : ", ") + std::string(one);
  return Error{ErrorCode::unsupported, concat("general.architecture: expected one of ", known,
                                              "; found '", printable(name), "'")};
}

// A file without tensors is a vocabulary; otherwise the last layer that was announced must exist,
// and no later one.
Status check_layer_count(const Reader& in) {
  if (in.file.tensors().empty()) return ok();
  if (!in.in_layer(in.n_layers - 1, "attn_norm.weight")) {
    return bad(concat("expected ", in.n_layers, " layers as ", in.keys.key("block_count"),
                      " says, found no blk.", in.n_layers - 1, ".attn_norm.weight"));
  }
  if (in.in_layer(in.n_layers, "attn_norm.weight")) {
    return bad(concat("expected ", in.n_layers, " layers as ", in.keys.key("block_count"),
                      " says, found also blk.", in.n_layers, ".attn_norm.weight"));
  }
  return ok();
}

}  // namespace

Result<ModelConfig> read_config(const gguf::File& file) {
  const std::string_view architecture = LM_TRY(file.str("general.architecture"));
  const Family* family = find_family(architecture);
  if (family == nullptr) return unknown_architecture(architecture);

  Reader in{file, *family, Hyperparameters(file, architecture)};
  in.n_layers = LM_TRY(in.keys.count("block_count", 1, kMaxLayers));
  in.d_model = LM_TRY(in.keys.count("embedding_length", 1, kMaxWidth));
  in.n_ctx = LM_TRY(in.keys.count("context_length", 1, kMaxContext));
  LM_TRY(check_layer_count(in));

  ModelConfig config;
  config.family = architecture;
  config.d_model = in.d_model;
  config.n_ctx_train = in.n_ctx;
  config.n_vocab = LM_TRY(in.vocabulary());
  config.embed_scale = family->scaled_embed ? float(std::sqrt(double(in.d_model))) : 1;
  config.norm_eps = LM_TRY(in.keys.number("attention.layer_norm_rms_epsilon", 0, 1));
  if (LM_TRY(in.keys.number_or("final_logit_softcapping", 0, 0, 1e6f)) != 0) {
    return Error{ErrorCode::unsupported, concat(in.keys.key("final_logit_softcapping"),
                                                ": expected none, found a cap on the logits")};
  }

  const AttnSpec attention = LM_TRY(in.attention());
  const int window = LM_TRY(in.keys.count_or("attention.sliding_window", 0, 0, INT32_MAX));
  const std::vector<bool> windowed = LM_TRY(in.windowed());
  RopeSpec local_rope = attention.rope;
  if (family->local_theta != 0) {
    local_rope = {
        .dims = attention.rope.dims, .neox = attention.rope.neox, .theta = family->local_theta};
  }
  local_rope.theta =
      LM_TRY(in.keys.number_or("rope.freq_base_swa", local_rope.theta, 1.001f, 1e15f));
  const MoeSpec moe = LM_TRY(in.experts());
  const int n_dense =
      moe.n_experts == 0 ? in.n_layers
                         : LM_TRY(in.keys.count_or("leading_dense_block_count", 0, 0, in.n_layers));
  std::vector<int> d_ff;
  if (n_dense > 0)
    d_ff = LM_TRY(in.keys.per_layer("feed_forward_length", in.n_layers, 1, kMaxWidth));

  for (int i = 0; i < in.n_layers; ++i) {
    LayerSpec layer{.norm = {.eps = config.norm_eps, .post = family->post_norm},
                    .attn = attention,
                    .ffn = {.act = family->act, .limit = family->limit}};
    if (windowed[size_t(i)]) {
      layer.attn.window = window;
      layer.attn.rope = local_rope;
    }
    layer.attn.qkv_bias =
        family->qkv_bias || in.in_layer(i, "attn_q.bias") || in.in_layer(i, "attn_qkv.bias");
    layer.attn.out_bias = family->out_bias || in.in_layer(i, "attn_output.bias");
    if (i < n_dense) {
      layer.ffn.d_ff = d_ff[size_t(i)];
      layer.ffn.bias = in.in_layer(i, "ffn_down.bias");
    } else {
      layer.ffn.moe = moe;
    }
    config.layers.push_back(layer);
  }
  return config;
}

}  // namespace lm
