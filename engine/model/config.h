// engine/model/config.h — what a decoder-only transformer is, as data.
// A file's metadata becomes a ModelConfig (config.cpp, with families.cpp's table); the forward pass
// reads nothing else. Every number here has been checked against a sane range.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "backends/backend.h"

namespace lm {

struct NormSpec {
  float eps = 1e-6f;
  bool post = false;  // gemma: each branch is normalised again before it is added
};

// How positions become rotations; all scalings end up in a table of frequencies (rope.h).
struct RopeSpec {
  enum class Scaling : uint8_t { none, linear, llama3, yarn, longrope };
  int dims = 0;      // rotated dimensions of a head, even
  bool neox = true;  // pairs (i, i + dims/2); otherwise (2i, 2i + 1)
  float theta = 1e4f;
  Scaling scaling = Scaling::none;
  float factor =
      1;  // linear, yarn: positions are divided by this; longrope: trained / original context
  int n_ctx_original = 0;  // yarn, longrope: context of the unscaled training
  float yarn_beta_fast = 32, yarn_beta_slow = 1;
  bool yarn_truncate = true;  // the ramp begins and ends at whole dimensions
  float attn_factor =
      0;  // magnitude of the rotation (yarn: times the paper's); 0: what the scaling's paper says
  bool operator==(const RopeSpec&) const = default;
};

struct AttnSpec {
  int n_heads = 0, n_kv_heads = 0, head_dim = 0;
  int window = 0;  // 0: full attention
  bool qk_norm = false;
  bool qkv_bias = false, out_bias = false;
  bool sinks = false;  // one learned logit per head in the softmax's denominator
  float scale = 0;     // of q·k
  float softcap = 0;
  RopeSpec rope{};
};

struct MoeSpec {
  int n_experts = 0, top_k = 0, d_ff = 0;
  bool sigmoid = false, normalise = true;
  bool bias = false;  // of the router and of the experts' three matrices
  float scale = 1;
};

struct FfnSpec {
  int d_ff = 0;  // 0 where the layer has experts
  bool bias = false;
  Act act = Act::silu;
  float limit = 0;  // swiglu_oai
  MoeSpec moe{};    // n_experts 0: dense
};

struct LayerSpec {
  NormSpec norm{};
  AttnSpec attn{};
  FfnSpec ffn{};
};

struct ModelConfig {
  std::string family;  // for messages only: the forward pass never reads it
  int d_model = 0, n_vocab = 0, n_ctx_train = 0;
  float embed_scale = 1;
  float norm_eps = 1e-6f;  // of the last norm
  std::vector<LayerSpec> layers;
};

}  // namespace lm
