// engine/tools/convert_families.h — what each family calls its tensors, as tables.
// Source: huggingface/transformers (modeling files) for the names on the left, the GGUF standard
// names (ggml-org/llama.cpp gguf-py tensor_mapping) for those on the right.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace lm::hf {

// A dimension of a tensor, resolved from the config. q = n_heads · head_dim, kv likewise.
enum class Dim : uint8_t {
  none,
  d_model,
  q,
  kv,
  qkv,
  d_ff,
  gate_up,
  d_ff_expert,
  gate_up_expert,
  head_dim,
  n_heads,
  n_experts,
  n_vocab,
};

enum class Transform : uint8_t {
  copy,
  add_one,       // gemma stores norm weights around 0
  rope_pairs_q,  // rows of each head from halves (i, i + d/2) to neighbours (2i, 2i + 1)
  rope_pairs_k,
  transpose,       // [E, in, out] to [E, out, in]
  transpose_even,  // the same, even columns: gpt-oss keeps gate and up interleaved
  transpose_odd,
  even,
  odd,    // of the last dimension
  mxfp4,  // *_blocks and *_scales to ggml's blocks
  mxfp4_even,
  mxfp4_odd,  // even or odd rows
};

// "{L}" stands for the layer; "{E}" for an expert: all experts are stacked into one tensor.
// For one `to`, the first rule whose `from` exists counts.
struct TensorRule {
  std::string_view from, to;
  std::array<Dim, 3> shape;  // of `from`, the last one varies fastest
  Transform transform = Transform::copy;
  bool optional = false;  // absent: no tensor
};

enum class Windows : uint8_t {
  none,       // a window in the config is refused
  all,        // every layer, when the config has one
  if_used,    // only behind "use_sliding_window"
  alternate,  // all layers but each period-th
};

struct Family {
  std::string_view hf, gguf;  // "LlamaForCausalLM", "llama"
  std::array<std::span<const TensorRule>, 5> rules{};
  std::string_view activation = "silu";  // the one that the forward pass will use
  std::string_view n_experts_key{}, d_ff_expert_key{};
  Windows windows = Windows::none;
  int period = 0;  // of alternate windows, unless the config says otherwise
  // What transformers assumes where config.json is silent; 0: the key is required.
  int64_t n_heads = 0, n_kv_heads = 0, head_dim = 0, n_vocab = 0, n_ctx = 0;
  double theta = 1e4, theta_window = 0;
  bool tied = false, normalise_experts = true;
  bool yarn_truncates = true;  // the correction range is rounded to whole dimensions
  bool nested = false;         // the text model lies beside a vision tower
};

std::span<const Family> families();
const Family* find_family(std::string_view hf);  // nullptr when unknown

}  // namespace lm::hf
