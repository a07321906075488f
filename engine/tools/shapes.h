// engine/tools/shapes.h — the shapes of published models, and how the field quantizes one, as data:
// what `llm bench` needs to make random weights of a model that nobody has downloaded.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "gguf/writer.h"
#include "quant/dtype.h"

namespace lm {

// The numbers of a model's public config.json.
struct ModelShape {
  std::string_view name;          // "llama3.2-1b"
  std::string_view architecture;  // general.architecture
  int n_layers, d_model, n_heads, n_kv_heads, head_dim, d_ff, n_vocab, n_ctx;
  float rope_theta, norm_eps;
  bool tied = true;         // the embedding table is also the output matrix
  bool rope_freqs = false;  // llama3's frequency divisors, a tensor
  int window = 0;           // sliding window, tokens
  int n_experts = 0, top_k = 0, d_ff_expert = 0;
  float yarn_factor = 0;   // 0: no YaRN
  int n_ctx_original = 0;  // with YaRN
};

std::span<const ModelShape> known_shapes();
// bad_request with the known names.
Result<const ModelShape*> find_shape(std::string_view name);

// Every --type that make_tensors() knows: "q4_0", ..., "q4_K_M", ...
std::vector<std::string_view> known_recipes();

struct ShapeTensor {
  std::string name;
  DType dtype;
  std::vector<int64_t> dims;  // dims[0] varies fastest
};

// The tensors of a GGUF file of this shape, quantized by a recipe ("q4_K_M") or into one type
// ("q5_0"; the output matrix then stays at 6 bits, as llama-quantize has it). bad_request with the
// known names.
Result<std::vector<ShapeTensor>> make_tensors(const ModelShape& shape, std::string_view recipe);

// The metadata of such a file, with a byte-level vocabulary of the right size whose tokens beyond
// the 256 bytes are invented.
void set_metadata(const ModelShape& shape, std::string_view recipe, gguf::Writer& writer);

}  // namespace lm
