#include "tests/reference/tiny_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "quant/encode.h"
#include "tests/support/support.h"

namespace lm::test {
namespace {

constexpr int kControlTokens = 3, kByteTokens = 256;

struct Vocabulary {
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<int32_t> types;  // llama.cpp's: 1 normal, 2 unknown, 3 control, 6 byte

  void add(std::string piece, int32_t type) {
    scores.push_back(type == 1 ? -float(pieces.size()) : 0);
    pieces.push_back(std::move(piece));
    types.push_back(type);
  }
};

// Enough to spell anything (bytes), and words enough for merges to happen.
Vocabulary make_vocabulary() {
  Vocabulary v;
  v.add("<unk>", 2);
  v.add("<s>", 3);
  v.add("</s>", 3);
  constexpr std::string_view kHex = "0123456789ABCDEF";
  for (size_t b = 0; b < kByteTokens; ++b)
    v.add(std::string("<0x") + kHex[b / 16] + kHex[b % 16] + ">", 6);
  constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, SentencePiece's space
  for (const std::string_view merged : {"th", "the", "an", "and", "in", "on"}) {
    v.add(std::string(merged), 1);
    v.add(std::string(kSpace) + std::string(merged), 1);
  }
  v.add(std::string(kSpace), 1);
  for (char c = 'a'; c <= 'z'; ++c) v.add(std::string(1, c), 1);
  return v;
}

// Writes one model: the order of the calls below is the order of the tensors.
class Maker {
 public:
  explicit Maker(const TinyModel& model) : m_(model), random_(model.seed) {}

  TinyFile make() {
    const Vocabulary vocabulary = make_vocabulary();
    hyperparameters();
    rope();
    tokenizer(vocabulary);
    const int n_vocab = int(vocabulary.pieces.size());
    embedding("token_embd.weight", n_vocab,
              m_.architecture == "gemma3" ? 1 / std::sqrt(float(m_.d_model)) : 1);
    for (int i = 0; i < m_.n_layers; ++i)
      layer("blk." + std::to_string(i) + ".", m_.n_experts == 0 || i < m_.n_dense);
    norm("output_norm.weight", m_.d_model);
    if (!m_.tied) embedding("output.weight", n_vocab, 4 / std::sqrt(float(m_.d_model)));
    return std::move(file_);
  }

 private:
  std::string key(std::string_view name) const { return m_.architecture + "." + std::string(name); }
  void count(std::string_view name, int value) { file_.writer.set_u32(key(name), uint32_t(value)); }
  bool is(std::string_view architecture) const { return m_.architecture == architecture; }

  void hyperparameters();
  void rope();
  void tokenizer(const Vocabulary& vocabulary);
  void layer(const std::string& blk, bool dense);
  void attention(const std::string& blk);
  void experts(const std::string& blk);

  std::vector<float> normal(int64_t n, float size) {
    std::vector<float> values(size_t(n), 0.0f);
    for (float& v : values) v = size * random_.normal();
    return values;
  }
  void put(const std::string& name, DType dtype, std::vector<int64_t> dims,
           const std::vector<float>& values);
  void put_mxfp4(const std::string& name, std::vector<int64_t> dims);
  void matrix(const std::string& name, int64_t rows, int64_t cols) {
    put(name, m_.dtype, {cols, rows}, normal(rows * cols, 1 / std::sqrt(float(cols))));
  }
  void bias(const std::string& name, int64_t n) { put(name, DType::f32, {n}, normal(n, 0.2f)); }
  void norm(const std::string& name, int64_t n) {
    std::vector<float> values(size_t(n), 0.0f);
    for (float& v : values) v = random_.uniform(0.5f, 1.5f);
    put(name, DType::f32, {n}, values);
  }
  void embedding(const std::string& name, int64_t n_vocab, float size);

  TinyModel m_;
  Random random_;
  TinyFile file_;
};

void Maker::put(const std::string& name, DType dtype, std::vector<int64_t> dims,
                const std::vector<float>& values) {
  require_ok(file_.writer.add_tensor(name, dtype, dims));
  const size_t cols = size_t(dims[0]), stride = row_bytes(dtype, dims[0]);
  std::vector<std::byte> bytes(values.size() / cols * stride);
  for (size_t r = 0; r < values.size() / cols; ++r) {
    encode(dtype, std::span(values).subspan(r * cols, cols), bytes.data() + r * stride);
  }
  file_.data.push_back(std::move(bytes));
}

// Random blocks as they are: a scale of 2^-4 to 2^-1, then 32 four-bit numbers.
void Maker::put_mxfp4(const std::string& name, std::vector<int64_t> dims) {
  require_ok(file_.writer.add_tensor(name, DType::mxfp4, dims));
  std::vector<std::byte> bytes;
  for (int64_t block = 0; block < dims[0] / 32 * dims[1] * dims[2]; ++block) {
    bytes.push_back(std::byte(123 + random_.below(4)));
    for (int i = 0; i < 16; ++i) bytes.push_back(std::byte(random_.below(256)));
  }
  file_.data.push_back(std::move(bytes));
}

// Bytes and control tokens are made unlikely, so that what a random model writes can be read.
void Maker::embedding(const std::string& name, int64_t n_vocab, float size) {
  std::vector<float> values = normal(n_vocab * m_.d_model, size);
  for (int64_t i = 0; i < (kControlTokens + kByteTokens) * m_.d_model; ++i)
    values[size_t(i)] *= 0.25f;
  put(name, m_.dtype, {m_.d_model, n_vocab}, values);
}

void Maker::hyperparameters() {
  gguf::Writer& w = file_.writer;
  w.set_str("general.architecture", m_.architecture);
  w.set_str("general.name", "random " + m_.name);
  count("block_count", m_.n_layers);
  count("context_length", m_.n_ctx);
  count("embedding_length", m_.d_model);
  count("attention.head_count", m_.n_heads);
  count("attention.head_count_kv", m_.n_kv_heads);
  if (m_.head_dim * m_.n_heads != m_.d_model) {
    count("attention.key_length", m_.head_dim);
    count("attention.value_length", m_.head_dim);
  }
  w.set_f32(key("attention.layer_norm_rms_epsilon"), 1e-5f);
  if (m_.window > 0) count("attention.sliding_window", m_.window);
  if (m_.n_experts > 0) {
    count("expert_count", m_.n_experts);
    count("expert_used_count", m_.top_k);
    if (m_.n_dense > 0) count("leading_dense_block_count", m_.n_dense);
  }
  count(is("llama") || m_.n_experts == 0 ? "feed_forward_length" : "expert_feed_forward_length",
        m_.d_ff);
}

void Maker::rope() {
  gguf::Writer& w = file_.writer;
  const int dims = m_.rope_dims > 0 ? m_.rope_dims : m_.head_dim;
  if (m_.rope_dims > 0) count("rope.dimension_count", dims);
  w.set_f32(key("rope.freq_base"), 500.0f);
  if (m_.rope_scaling == "linear" || m_.rope_scaling == "yarn") {
    w.set_str(key("rope.scaling.type"), m_.rope_scaling);
    w.set_f32(key("rope.scaling.factor"), m_.rope_factor);
  }
  if (m_.n_ctx_original > 0) count("rope.scaling.original_context_length", m_.n_ctx_original);
  const auto divisors = [&](const std::string& name, float size) {
    std::vector<float> values;
    for (int i = 0; i < dims / 2; ++i) values.push_back(1 + size * float(i));
    put(name, DType::f32, {dims / 2}, values);
  };
  if (m_.rope_scaling == "llama3") divisors("rope_freqs.weight", 1.5f);
  if (m_.rope_scaling == "longrope") {
    divisors("rope_factors_long.weight", 2);
    divisors("rope_factors_short.weight", 0.1f);
  }
}

void Maker::tokenizer(const Vocabulary& vocabulary) {
  gguf::Writer& w = file_.writer;
  w.set_str("tokenizer.ggml.model", "llama");
  w.set_strs("tokenizer.ggml.tokens", vocabulary.pieces);
  w.set_f32s("tokenizer.ggml.scores", vocabulary.scores);
  w.set_i32s("tokenizer.ggml.token_type", vocabulary.types);
  w.set_u32("tokenizer.ggml.unknown_token_id", 0);
  w.set_u32("tokenizer.ggml.bos_token_id", 1);
  w.set_u32("tokenizer.ggml.eos_token_id", 2);
}

void Maker::attention(const std::string& blk) {
  const int q = m_.n_heads * m_.head_dim, kv = m_.n_kv_heads * m_.head_dim;
  norm(blk + "attn_norm.weight", m_.d_model);
  if (is("phi3")) {
    matrix(blk + "attn_qkv.weight", q + 2 * kv, m_.d_model);
  } else {
    matrix(blk + "attn_q.weight", q, m_.d_model);
    matrix(blk + "attn_k.weight", kv, m_.d_model);
    matrix(blk + "attn_v.weight", kv, m_.d_model);
  }
  if (is("qwen2") || is("gpt-oss") || m_.biases) {
    bias(blk + "attn_q.bias", q);
    bias(blk + "attn_k.bias", kv);
    bias(blk + "attn_v.bias", kv);
  }
  if (is("qwen3") || is("qwen3moe") || is("gemma3")) {
    norm(blk + "attn_q_norm.weight", m_.head_dim);
    norm(blk + "attn_k_norm.weight", m_.head_dim);
  }
  if (is("gpt-oss")) bias(blk + "attn_sinks.weight", m_.n_heads);
  matrix(blk + "attn_output.weight", m_.d_model, q);
  if (is("gpt-oss") || m_.biases) bias(blk + "attn_output.bias", m_.d_model);
  if (is("gemma3") || is("gpt-oss")) norm(blk + "post_attention_norm.weight", m_.d_model);
}

void Maker::experts(const std::string& blk) {
  const int64_t n = m_.n_experts;
  const auto matrices = [&](const std::string& stem, int64_t rows, int64_t cols) {
    if (m_.experts_apart) {
      for (int64_t e = 0; e < n; ++e)
        matrix(stem + "." + std::to_string(e) + ".weight", rows, cols);
    } else if (m_.mxfp4_experts) {
      put_mxfp4(stem + "_exps.weight", {cols, rows, n});
    } else {
      put(stem + "_exps.weight", m_.dtype, {cols, rows, n},
          normal(n * rows * cols, 1 / std::sqrt(float(cols))));
    }
  };
  put(blk + "ffn_gate_inp.weight", DType::f32, {m_.d_model, n},
      normal(n * m_.d_model, 1 / std::sqrt(float(m_.d_model))));
  matrices(blk + "ffn_gate", m_.d_ff, m_.d_model);
  matrices(blk + "ffn_up", m_.d_ff, m_.d_model);
  matrices(blk + "ffn_down", m_.d_model, m_.d_ff);
  if (!is("gpt-oss")) return;
  bias(blk + "ffn_gate_inp.bias", n);
  put(blk + "ffn_gate_exps.bias", DType::f32, {m_.d_ff, n},
      normal(n * m_.d_ff, 4));  // some beyond the limit of 7
  put(blk + "ffn_up_exps.bias", DType::f32, {m_.d_ff, n}, normal(n * m_.d_ff, 4));
  put(blk + "ffn_down_exps.bias", DType::f32, {m_.d_model, n}, normal(n * m_.d_model, 0.2f));
}

void Maker::layer(const std::string& blk, bool dense) {
  attention(blk);
  if (!is("gpt-oss")) norm(blk + "ffn_norm.weight", m_.d_model);
  if (!dense) {
    experts(blk);
  } else if (is("phi3")) {
    matrix(blk + "ffn_up.weight", 2 * m_.d_ff, m_.d_model);
    matrix(blk + "ffn_down.weight", m_.d_model, m_.d_ff);
  } else {
    matrix(blk + "ffn_gate.weight", m_.d_ff, m_.d_model);
    matrix(blk + "ffn_up.weight", m_.d_ff, m_.d_model);
    matrix(blk + "ffn_down.weight", m_.d_model, m_.d_ff);
    if (m_.biases) {
      bias(blk + "ffn_gate.bias", m_.d_ff);
      bias(blk + "ffn_up.bias", m_.d_ff);
      bias(blk + "ffn_down.bias", m_.d_model);
    }
  }
  if (is("gemma3")) norm(blk + "post_ffw_norm.weight", m_.d_model);
}

}  // namespace

std::vector<TinyModel> tiny_models() {
  std::vector<TinyModel> models = {
      {.name = "llama", .architecture = "llama", .d_model = 24},
      {.name = "qwen2", .architecture = "qwen2"},
      {.name = "qwen3", .architecture = "qwen3", .tied = true},
      {.name = "qwen3moe", .architecture = "qwen3moe", .d_ff = 10, .n_experts = 5, .top_k = 3},
      {.name = "gemma3", .architecture = "gemma3", .n_layers = 7, .window = 5, .tied = true},
      {.name = "phi3",
       .architecture = "phi3",
       .d_model = 32,
       .head_dim = 8,
       .window = 7,
       .tied = true,
       .rope_dims = 6},
      {.name = "gpt-oss",
       .architecture = "gpt-oss",
       .n_layers = 3,
       .d_ff = 18,
       .n_experts = 4,
       .top_k = 2,
       .window = 6,
       .rope_scaling = "yarn",
       .rope_factor = 4,
       .n_ctx_original = 256},
      {.name = "smollm",
       .architecture = "llama",
       .d_model = 18,
       .n_heads = 3,
       .n_kv_heads = 1,
       .tied = true},
      {.name = "mistral", .architecture = "llama", .n_kv_heads = 1, .window = 4},
      {.name = "mixtral",
       .architecture = "llama",
       .n_kv_heads = 4,
       .d_ff = 14,
       .n_experts = 4,
       .top_k = 2},
      {.name = "mixtral-apart",
       .architecture = "llama",
       .d_ff = 14,
       .n_experts = 3,
       .top_k = 1,
       .experts_apart = true},
      {.name = "llama-biases", .architecture = "llama", .biases = true},
      {.name = "llama3", .architecture = "llama", .rope_scaling = "llama3"},
      {.name = "llama-linear", .architecture = "llama", .rope_scaling = "linear", .rope_factor = 4},
      {.name = "qwen2-yarn",
       .architecture = "qwen2",
       .rope_scaling = "yarn",
       .rope_factor = 4,
       .n_ctx_original = 256},
      {.name = "gemma3-linear",
       .architecture = "gemma3",
       .n_layers = 6,
       .window = 5,
       .tied = true,
       .rope_scaling = "linear",
       .rope_factor = 8},
      {.name = "phi3-longrope",
       .architecture = "phi3",
       .d_model = 32,
       .head_dim = 8,
       .rope_dims = 6,
       .rope_scaling = "longrope",
       .n_ctx_original = 64},
  };
  for (size_t i = 0; i < models.size(); ++i) models[i].seed = 100 + i;
  return models;
}

TinyModel tiny_model(std::string_view architecture) {
  for (TinyModel& model : tiny_models()) {
    if (model.architecture == architecture) return model;
  }
  FAIL("no tiny model of architecture ", std::string(architecture));
  return {};
}

TinyModel widened(TinyModel model, DType dtype) {
  model.name += " " + std::string(dtype_name(dtype));
  model.dtype = dtype;
  model.d_model = 256;
  model.d_ff = 512;
  model.n_heads = 8;
  model.n_kv_heads = 2;
  model.head_dim = 32;
  if (model.rope_dims > 0) model.rope_dims = 24;
  return model;
}

std::vector<std::byte> TinyFile::bytes() const {
  return require_ok(
      writer.to_bytes([&](size_t i, const gguf::Writer::Sink& sink) { return sink(data[i]); }));
}

Status TinyFile::save(const std::filesystem::path& path) const {
  return writer.write(path,
                      [&](size_t i, const gguf::Writer::Sink& sink) { return sink(data[i]); });
}

TinyFile write_tiny_model(const TinyModel& model) {
  return Maker(model).make();
}

}  // namespace lm::test
