// engine/tools/shapes.cpp — the table of shapes, and their tensors and metadata by GGUF's names.
// Numbers: config.json of each model on the Hugging Face Hub. Names: ggml docs/gguf.md.
#include "engine/tools/shapes.h"

#include <algorithm>

#include "engine/core/text.h"
#include "engine/tools/recipes.h"

namespace lm {
namespace {

constexpr ModelShape kShapes[] = {
    // Nobody's model: for tests and for a first look at the options.
    {.name = "tiny",
     .architecture = "llama",
     .n_layers = 2,
     .d_model = 256,
     .n_heads = 4,
     .n_kv_heads = 2,
     .head_dim = 64,
     .d_ff = 512,
     .n_vocab = 512,
     .n_ctx = 4096,
     .rope_theta = 1e4f,
     .norm_eps = 1e-5f},
    {.name = "tiny-moe",
     .architecture = "qwen3moe",
     .n_layers = 2,
     .d_model = 256,
     .n_heads = 4,
     .n_kv_heads = 2,
     .head_dim = 64,
     .d_ff = 512,
     .n_vocab = 512,
     .n_ctx = 4096,
     .rope_theta = 1e4f,
     .norm_eps = 1e-6f,
     .tied = false,
     .n_experts = 8,
     .top_k = 2,
     .d_ff_expert = 256},
    {.name = "llama3.2-1b",
     .architecture = "llama",
     .n_layers = 16,
     .d_model = 2048,
     .n_heads = 32,
     .n_kv_heads = 8,
     .head_dim = 64,
     .d_ff = 8192,
     .n_vocab = 128256,
     .n_ctx = 131072,
     .rope_theta = 5e5f,
     .norm_eps = 1e-5f,
     .rope_freqs = true},
    {.name = "llama3.2-3b",
     .architecture = "llama",
     .n_layers = 28,
     .d_model = 3072,
     .n_heads = 24,
     .n_kv_heads = 8,
     .head_dim = 128,
     .d_ff = 8192,
     .n_vocab = 128256,
     .n_ctx = 131072,
     .rope_theta = 5e5f,
     .norm_eps = 1e-5f,
     .rope_freqs = true},
    {.name = "llama3-8b",
     .architecture = "llama",
     .n_layers = 32,
     .d_model = 4096,
     .n_heads = 32,
     .n_kv_heads = 8,
     .head_dim = 128,
     .d_ff = 14336,
     .n_vocab = 128256,
     .n_ctx = 8192,
     .rope_theta = 5e5f,
     .norm_eps = 1e-5f,
     .tied = false},
    {.name = "tinyllama-1.1b",
     .architecture = "llama",
     .n_layers = 22,
     .d_model = 2048,
     .n_heads = 32,
     .n_kv_heads = 4,
     .head_dim = 64,
     .d_ff = 5632,
     .n_vocab = 32000,
     .n_ctx = 2048,
     .rope_theta = 1e4f,
     .norm_eps = 1e-5f,
     .tied = false},
    {.name = "smollm2-135m",
     .architecture = "llama",
     .n_layers = 30,
     .d_model = 576,
     .n_heads = 9,
     .n_kv_heads = 3,
     .head_dim = 64,
     .d_ff = 1536,
     .n_vocab = 49152,
     .n_ctx = 8192,
     .rope_theta = 1e5f,
     .norm_eps = 1e-5f},
    {.name = "smollm2-360m",
     .architecture = "llama",
     .n_layers = 32,
     .d_model = 960,
     .n_heads = 15,
     .n_kv_heads = 5,
     .head_dim = 64,
     .d_ff = 2560,
     .n_vocab = 49152,
     .n_ctx = 8192,
     .rope_theta = 1e5f,
     .norm_eps = 1e-5f},
    {.name = "mistral-7b",
     .architecture = "llama",
     .n_layers = 32,
     .d_model = 4096,
     .n_heads = 32,
     .n_kv_heads = 8,
     .head_dim = 128,
     .d_ff = 14336,
     .n_vocab = 32768,
     .n_ctx = 32768,
     .rope_theta = 1e6f,
     .norm_eps = 1e-5f,
     .tied = false},
    {.name = "qwen2.5-0.5b",
     .architecture = "qwen2",
     .n_layers = 24,
     .d_model = 896,
     .n_heads = 14,
     .n_kv_heads = 2,
     .head_dim = 64,
     .d_ff = 4864,
     .n_vocab = 151936,
     .n_ctx = 32768,
     .rope_theta = 1e6f,
     .norm_eps = 1e-6f},
    {.name = "qwen2.5-7b",
     .architecture = "qwen2",
     .n_layers = 28,
     .d_model = 3584,
     .n_heads = 28,
     .n_kv_heads = 4,
     .head_dim = 128,
     .d_ff = 18944,
     .n_vocab = 152064,
     .n_ctx = 32768,
     .rope_theta = 1e6f,
     .norm_eps = 1e-6f,
     .tied = false},
    {.name = "qwen3-0.6b",
     .architecture = "qwen3",
     .n_layers = 28,
     .d_model = 1024,
     .n_heads = 16,
     .n_kv_heads = 8,
     .head_dim = 128,
     .d_ff = 3072,
     .n_vocab = 151936,
     .n_ctx = 40960,
     .rope_theta = 1e6f,
     .norm_eps = 1e-6f},
    {.name = "qwen3-1.7b",
     .architecture = "qwen3",
     .n_layers = 28,
     .d_model = 2048,
     .n_heads = 16,
     .n_kv_heads = 8,
     .head_dim = 128,
     .d_ff = 6144,
     .n_vocab = 151936,
     .n_ctx = 40960,
     .rope_theta = 1e6f,
     .norm_eps = 1e-6f},
    {.name = "qwen3-4b",
     .architecture = "qwen3",
     .n_layers = 36,
     .d_model = 2560,
     .n_heads = 32,
     .n_kv_heads = 8,
     .head_dim = 128,
     .d_ff = 9728,
     .n_vocab = 151936,
     .n_ctx = 40960,
     .rope_theta = 1e6f,
     .norm_eps = 1e-6f},
    {.name = "qwen3-8b",
     .architecture = "qwen3",
     .n_layers = 36,
     .d_model = 4096,
     .n_heads = 32,
     .n_kv_heads = 8,
     .head_dim = 128,
     .d_ff = 12288,
     .n_vocab = 151936,
     .n_ctx = 40960,
     .rope_theta = 1e6f,
     .norm_eps = 1e-6f,
     .tied = false},
    {.name = "qwen3-30b-a3b",
     .architecture = "qwen3moe",
     .n_layers = 48,
     .d_model = 2048,
     .n_heads = 32,
     .n_kv_heads = 4,
     .head_dim = 128,
     .d_ff = 6144,
     .n_vocab = 151936,
     .n_ctx = 40960,
     .rope_theta = 1e6f,
     .norm_eps = 1e-6f,
     .tied = false,
     .n_experts = 128,
     .top_k = 8,
     .d_ff_expert = 768},
    {.name = "gemma3-1b",
     .architecture = "gemma3",
     .n_layers = 26,
     .d_model = 1152,
     .n_heads = 4,
     .n_kv_heads = 1,
     .head_dim = 256,
     .d_ff = 6912,
     .n_vocab = 262144,
     .n_ctx = 32768,
     .rope_theta = 1e6f,
     .norm_eps = 1e-6f,
     .window = 512},
    {.name = "gpt-oss-20b",
     .architecture = "gpt-oss",
     .n_layers = 24,
     .d_model = 2880,
     .n_heads = 64,
     .n_kv_heads = 8,
     .head_dim = 64,
     .d_ff = 2880,
     .n_vocab = 201088,
     .n_ctx = 131072,
     .rope_theta = 150000,
     .norm_eps = 1e-5f,
     .tied = false,
     .window = 128,
     .n_experts = 32,
     .top_k = 4,
     .d_ff_expert = 2880,
     .yarn_factor = 32,
     .n_ctx_original = 4096},
};

// Collects the tensors of one shape.
class Lister {
 public:
  explicit Lister(const ModelShape& shape) : s_(shape) {}

  std::vector<ShapeTensor> list() {
    weight("token_embd.weight", s_.d_model, s_.n_vocab);
    if (s_.rope_freqs) vector("rope_freqs.weight", s_.head_dim / 2);
    for (int i = 0; i < s_.n_layers; ++i) {
      prefix_ = concat("blk.", i, ".");
      attention();
      s_.n_experts > 0 ? experts() : dense();
    }
    prefix_.clear();
    vector("output_norm.weight", s_.d_model);
    if (!s_.tied) weight("output.weight", s_.d_model, s_.n_vocab);
    return std::move(tensors_);
  }

 private:
  bool is(std::string_view architecture) const { return s_.architecture == architecture; }
  void add(std::string_view name, std::vector<int64_t> dims) {
    tensors_.push_back({prefix_ + std::string(name), DType::f32, std::move(dims)});
  }
  void vector(std::string_view name, int64_t n) { add(name, {n}); }
  void weight(std::string_view name, int64_t cols, int64_t rows) { add(name, {cols, rows}); }
  void with_bias(const std::string& stem, int64_t cols, int64_t rows, bool bias) {
    weight(stem + ".weight", cols, rows);
    if (bias) vector(stem + ".bias", rows);
  }

  void attention() {
    const bool oss = is("gpt-oss"), gemma = is("gemma3"), bias = oss || is("qwen2");
    const int64_t q = int64_t(s_.n_heads) * s_.head_dim, kv = int64_t(s_.n_kv_heads) * s_.head_dim;
    vector("attn_norm.weight", s_.d_model);
    with_bias("attn_q", s_.d_model, q, bias);
    with_bias("attn_k", s_.d_model, kv, bias);
    with_bias("attn_v", s_.d_model, kv, bias);
    with_bias("attn_output", q, s_.d_model, oss);
    if (gemma || is("qwen3") || is("qwen3moe")) {
      vector("attn_q_norm.weight", s_.head_dim);
      vector("attn_k_norm.weight", s_.head_dim);
    }
    if (oss) vector("attn_sinks.weight", s_.n_heads);
    if (gemma || oss) vector("post_attention_norm.weight", s_.d_model);
    if (!oss) vector("ffn_norm.weight", s_.d_model);
    if (gemma) vector("post_ffw_norm.weight", s_.d_model);
  }

  void dense() {
    weight("ffn_gate.weight", s_.d_model, s_.d_ff);
    weight("ffn_up.weight", s_.d_model, s_.d_ff);
    weight("ffn_down.weight", s_.d_ff, s_.d_model);
  }

  void experts() {
    const bool bias = is("gpt-oss");
    const int64_t n = s_.n_experts, d_ff = s_.d_ff_expert;
    with_bias("ffn_gate_inp", s_.d_model, n, bias);
    add("ffn_gate_exps.weight", {s_.d_model, d_ff, n});
    add("ffn_up_exps.weight", {s_.d_model, d_ff, n});
    add("ffn_down_exps.weight", {d_ff, s_.d_model, n});
    if (!bias) return;
    add("ffn_gate_exps.bias", {d_ff, n});
    add("ffn_up_exps.bias", {d_ff, n});
    add("ffn_down_exps.bias", {s_.d_model, n});
  }

  const ModelShape& s_;
  std::string prefix_;
  std::vector<ShapeTensor> tensors_;
};

// The 256 characters that stand for the bytes in GPT-2's vocabulary: printable ones for themselves,
// the others from U+0100 on (github.com/openai/gpt-2, bytes_to_unicode).
std::vector<std::string> byte_tokens() {
  std::vector<std::string> tokens;
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    const uint32_t c = printable ? byte : next++;
    if (c < 0x80) {
      tokens.push_back({char(c)});
    } else {
      tokens.push_back({char(0xC0 | c >> 6), char(0x80 | (c & 0x3F))});
    }
  }
  return tokens;
}

void set_vocabulary(int n_vocab, gguf::Writer& writer) {
  constexpr int32_t kNormal = 1, kControl = 3;  // token types of the format
  std::vector<std::string> tokens = byte_tokens();
  // The one merge that the format's readers want to see.
  tokens.push_back(tokens['t'] + tokens['h']);
  const std::vector<std::string> merges = {tokens['t'] + " " + tokens['h']};
  while (int(tokens.size()) < n_vocab - 1) tokens.push_back(concat("<filler ", tokens.size(), ">"));
  tokens.push_back("<end>");
  std::vector<int32_t> types(tokens.size(), kNormal);
  types.back() = kControl;
  const uint32_t end = uint32_t(tokens.size() - 1);
  writer.set_str("tokenizer.ggml.model", "gpt2");
  writer.set_str("tokenizer.ggml.pre", "gpt-2");
  writer.set_strs("tokenizer.ggml.tokens", tokens);
  writer.set_i32s("tokenizer.ggml.token_type", types);
  writer.set_strs("tokenizer.ggml.merges", merges);
  writer.set_u32("tokenizer.ggml.bos_token_id", end);
  writer.set_u32("tokenizer.ggml.eos_token_id", end);
  writer.set_bool("tokenizer.ggml.add_bos_token", false);
}

}  // namespace

std::span<const ModelShape> known_shapes() {
  return kShapes;
}

Result<const ModelShape*> find_shape(std::string_view name) {
  std::string known;
  for (const ModelShape& shape : kShapes) {
    if (shape.name == name) return &shape;
    known += concat(known.empty() ? "" : ", ", shape.name);
  }
  return Error{ErrorCode::bad_request,
               concat("expected a shape (", known, "), found \"", printable(name), "\"")};
}

std::vector<std::string_view> known_recipes() {
  return recipe_names();
}

Result<std::vector<ShapeTensor>> make_tensors(const ModelShape& shape, std::string_view recipe) {
  const Recipe chosen = LM_TRY(find_recipe(recipe));
  std::vector<ShapeTensor> tensors = Lister(shape).list();
  const RecipeModel model = {.n_layers = shape.n_layers,
                             .heads_per_kv_head = shape.n_heads / shape.n_kv_heads,
                             .n_experts = shape.n_experts,
                             .tied = shape.tied};
  for (ShapeTensor& tensor : tensors) {
    tensor.dtype = recipe_type(chosen, model, tensor.name, tensor.dims);
  }
  return tensors;
}

void set_metadata(const ModelShape& shape, std::string_view recipe, gguf::Writer& writer) {
  const std::string prefix = std::string(shape.architecture) + ".";
  const auto number = [&](std::string_view key, int value) {
    writer.set_u32(prefix + std::string(key), uint32_t(value));
  };
  writer.set_str("general.architecture", shape.architecture);
  writer.set_str("general.name", concat(shape.name, " shape, random ", recipe, " weights"));
  number("block_count", shape.n_layers);
  number("context_length", shape.n_ctx);
  number("embedding_length", shape.d_model);
  number("feed_forward_length", shape.d_ff);
  number("vocab_size", shape.n_vocab);
  number("attention.head_count", shape.n_heads);
  number("attention.head_count_kv", shape.n_kv_heads);
  number("attention.key_length", shape.head_dim);
  number("attention.value_length", shape.head_dim);
  number("rope.dimension_count", shape.head_dim);
  writer.set_f32(prefix + "attention.layer_norm_rms_epsilon", shape.norm_eps);
  writer.set_f32(prefix + "rope.freq_base", shape.rope_theta);
  if (shape.window > 0) number("attention.sliding_window", shape.window);
  if (shape.n_experts > 0) {
    number("expert_count", shape.n_experts);
    number("expert_used_count", shape.top_k);
    number("expert_feed_forward_length", shape.d_ff_expert);
  }
  if (shape.yarn_factor > 0) {
    writer.set_str(prefix + "rope.scaling.type", "yarn");
    writer.set_f32(prefix + "rope.scaling.factor", shape.yarn_factor);
    number("rope.scaling.original_context_length", shape.n_ctx_original);
  }
  set_vocabulary(shape.n_vocab, writer);
}

}  // namespace lm
