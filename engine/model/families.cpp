#include "engine/model/families.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/model/model.h"

namespace lm {
namespace {

// Gemma 3 (arXiv:2503.19786) divides q·k by √head_dim, but the 27B model, the only one of 62
// layers, by √(d_model / n_heads).
float gemma3_attn_scale(int d_model, int n_heads, int head_dim, int n_layers) {
  constexpr int kLayersOf27B = 62;
  const double width = n_layers == kLayersOf27B ? double(d_model) / n_heads : double(head_dim);
  return float(1 / std::sqrt(width));
}

// Sources: Llama arXiv:2302.13971, Mistral arXiv:2310.06825, Mixtral arXiv:2401.04088 (all three,
// and SmolLM and TinyLlama, are "llama" in GGUF); Qwen2 arXiv:2407.10671; Qwen3 arXiv:2505.09388;
// Gemma 3 arXiv:2503.19786; Phi-3 arXiv:2404.14219; gpt-oss arXiv:2508.10925.
constexpr std::array kFamilies = {
    Family{.architecture = "llama", .neox = false},
    Family{.architecture = "qwen2", .qkv_bias = true},
    Family{.architecture = "qwen3", .qk_norm = true},
    Family{.architecture = "qwen3moe", .qk_norm = true, .experts = true},
    Family{.architecture = "gemma3",
           .local_theta = 1e4f,
           .qk_norm = true,
           .window_period = 6,
           .attn_scale = gemma3_attn_scale,
           .act = Act::gelu_tanh,
           .post_norm = true,
           .scaled_embed = true},
    Family{.architecture = "phi3"},
    Family{.architecture = "gpt-oss",
           .yarn_truncate = false,
           .qkv_bias = true,
           .out_bias = true,
           .sinks = true,
           .window_period = 2,
           .act = Act::swiglu_oai,
           .limit = 7,
           .experts = true,
           .moe_bias = true},
};

constexpr auto kNames = [] {
  std::array<std::string_view, kFamilies.size()> names;
  for (size_t i = 0; i < names.size(); ++i) names[i] = kFamilies[i].architecture;
  return names;
}();

}  // namespace

const Family* find_family(std::string_view architecture) {
  const auto found = std::find(kNames.begin(), kNames.end(), architecture);
  return found == kNames.end() ? nullptr : &kFamilies[size_t(found - kNames.begin())];
}

std::span<const std::string_view> known_architectures() {
  return kNames;
}

}  // namespace lm
