// engine/model/families.h — what sets one model family apart from the plain Llama decoder, as data.
// One table row per value of general.architecture. Whatever a file can say itself (sizes, windows,
// scalings, optional biases) is read from the file; a row holds what the file leaves unsaid.
#pragma once
#include <string_view>

#include "backends/backend.h"

namespace lm {

struct Family {
  std::string_view architecture;

  // rotary embedding
  bool neox = true;       // pairs (i, i + dims/2); Llama files are permuted for (2i, 2i + 1)
  float local_theta = 0;  // theta of windowed layers, which then are unscaled; 0: like the others
  bool yarn_truncate = true;  // see RopeSpec

  // attention; where a bias is not required it is still used when the file has it
  bool qk_norm = false;
  bool qkv_bias = false, out_bias = false, sinks = false;
  int window_period = 0;  // of p layers the last sees everything; 0: a window is for all layers
  float (*attn_scale)(int d_model, int n_heads, int head_dim,
                      int n_layers) = nullptr;  // nullptr: 1/√head_dim

  // feed-forward
  Act act = Act::silu;
  float limit = 0;       // swiglu_oai
  bool experts = false;  // the file must have experts
  bool moe_bias = false;

  bool post_norm = false;     // each branch is normalised again before it is added
  bool scaled_embed = false;  // embeddings are multiplied by √d_model
};

// nullptr when the architecture is not known.
const Family* find_family(std::string_view architecture);

}  // namespace lm
