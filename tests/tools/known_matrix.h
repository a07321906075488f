// tests/tools/known_matrix.h — checkpoints of integers written from integers that the test knows,
// bit by bit as the layouts are documented, and the same model as plain floats.
#pragma once
#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "quant/half.h"
#include "tests/tools/hf_folder.h"

namespace lm::test {

enum class Packing { gptq_v1, gptq_v2, awq_gemm, awq_gemv, packed, bytes };

struct Scheme {
  Packing packing = Packing::gptq_v2;
  int bits = 4;
  int64_t group = 128;  // -1: a row
  bool symmetric = true, act_order = false;
  std::string scale_type = "F16";
};

// w[n][k] = scale[n][g] (q[n][k] - zero[n][g]), g = group_of[k]
struct KnownMatrix {
  int64_t rows = 0, cols = 0, n_groups = 0;
  std::vector<int> q, zeros;
  std::vector<float> scales;
  std::vector<int32_t> group_of;

  float number(int64_t n, int64_t k) const {
    const auto g = size_t(n * n_groups + group_of[size_t(k)]);
    return scales[g] * float(q[size_t(n * cols + k)] - zeros[g]);
  }
  std::vector<float> numbers() const {
    std::vector<float> all;
    for (int64_t n = 0; n < rows; ++n)
      for (int64_t k = 0; k < cols; ++k) all.push_back(number(n, k));
    return all;
  }
};

// Matrices with the same order_seed share their order of columns, as those with one input do.
inline KnownMatrix known_matrix(const Scheme& scheme, int64_t rows, int64_t cols, uint64_t seed,
                                uint64_t order_seed) {
  Random random(seed);
  KnownMatrix m;
  m.rows = rows, m.cols = cols;
  const int64_t group = scheme.group == -1 ? cols : scheme.group;
  m.n_groups = (cols + group - 1) / group;
  const int levels = 1 << scheme.bits;
  for (int64_t i = 0; i < rows * cols; ++i) m.q.push_back(int(random.below(uint64_t(levels))));
  for (int64_t i = 0; i < rows * m.n_groups; ++i) {
    m.zeros.push_back(scheme.symmetric ? levels / 2 : int(random.below(uint64_t(levels))));
    const float scale = random.uniform(0.2f, 1.0f) / float(levels);
    m.scales.push_back(scheme.scale_type == "F32"    ? scale
                       : scheme.scale_type == "BF16" ? bf16_to_f32(f32_to_bf16(scale))
                                                     : f16_to_f32(f32_to_f16(scale)));
  }
  std::vector<int32_t> order(size_t(cols), 0);
  std::iota(order.begin(), order.end(), 0);
  Random shuffle(order_seed);
  for (size_t i = order.size(); scheme.act_order && i > 1; --i)
    std::swap(order[i - 1], order[size_t(shuffle.below(i))]);
  m.group_of.resize(size_t(cols));
  for (int64_t i = 0; i < cols; ++i) m.group_of[size_t(order[size_t(i)])] = int32_t(i / group);
  return m;
}

// 32-bit words of which single fields are set.
class Words {
 public:
  explicit Words(int64_t n) : words_(size_t(n), 0) {}
  // Field i of a stream whose words lie at first, first + step, ...
  void set(int64_t first, int64_t step, int64_t i, int bits, int value) {
    for (int b = 0; b < bits; ++b) {
      const int64_t bit = i * bits + b;
      words_[size_t(first + bit / 32 * step)] |= uint32_t(value >> b & 1) << (bit % 32);
    }
  }
  void subtract(uint32_t ones) {
    for (uint32_t& word : words_) word -= ones;
  }
  std::string bytes() const {
    return {reinterpret_cast<const char*>(words_.data()), words_.size() * 4};
  }

 private:
  std::vector<uint32_t> words_;
};

inline std::string scale_bytes(const std::string& type, const std::vector<float>& scales) {
  std::string bytes;
  for (const float scale : scales) {
    const uint16_t half = type == "BF16" ? f32_to_bf16(scale) : f32_to_f16(scale);
    if (type == "F32") bytes.append(reinterpret_cast<const char*>(&scale), 4);
    if (type != "F32") bytes.append(reinterpret_cast<const char*>(&half), 2);
  }
  return bytes;
}

inline std::string int_bytes(const std::vector<int32_t>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * 4};
}

// rows × cols as cols × rows.
template <class T>
std::vector<T> transposed(const std::vector<T>& in, int64_t rows, int64_t cols) {
  std::vector<T> out(in.size());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) out[size_t(c * rows + r)] = in[size_t(r * cols + c)];
  return out;
}

inline void add_gptq(HfFolder& folder, const std::string& stem, const Scheme& scheme,
                     const KnownMatrix& m) {
  const int bits = scheme.bits;
  const bool v1 = scheme.packing == Packing::gptq_v1;
  Words q(m.cols * bits / 32 * m.rows), zeros(m.n_groups * m.rows * bits / 32);
  for (int64_t n = 0; n < m.rows; ++n)
    for (int64_t k = 0; k < m.cols; ++k) q.set(n, m.rows, k, bits, m.q[size_t(n * m.cols + k)]);
  for (int64_t n = 0; n < m.rows; ++n) {
    for (int64_t g = 0; g < m.n_groups; ++g) {
      int zero = m.zeros[size_t(n * m.n_groups + g)];
      if (v1 && bits == 3) zero = (zero + 7) % 8;
      zeros.set(g * (m.rows * bits / 32), 1, n, bits, zero);
    }
  }
  if (v1 && bits != 3) zeros.subtract(bits == 2 ? 0x55555555 : bits == 4 ? 0x11111111 : 0x01010101);
  folder.tensors[stem + ".qweight"] = {"I32", {m.cols * bits / 32, m.rows}, q.bytes()};
  folder.tensors[stem + ".qzeros"] = {"I32", {m.n_groups, m.rows * bits / 32}, zeros.bytes()};
  folder.tensors[stem + ".scales"] = {
      scheme.scale_type,
      {m.n_groups, m.rows},
      scale_bytes(scheme.scale_type, transposed(m.scales, m.rows, m.n_groups))};
  folder.tensors[stem + ".g_idx"] = {"I32", {m.cols}, int_bytes(m.group_of)};
  if (!folder.tensors.contains(stem + ".bias"))
    folder.tensors[stem + ".bias"] = {"F16", {m.rows}, std::string(size_t(2 * m.rows), '\0')};
}

inline void add_awq(HfFolder& folder, const std::string& stem, const Scheme& scheme,
                    const KnownMatrix& m) {
  constexpr int kNibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};  // where column c of a word lies
  const bool gemm = scheme.packing == Packing::awq_gemm;
  // gemv pads a row's zero-points to whole words, of a number that grows as groups shrink.
  const int64_t multiple = scheme.group >= 128 || scheme.group == -1 ? 1
                           : scheme.group == 64                      ? 2
                                                                     : 4;
  const int64_t width = ((m.n_groups + 7) / 8 + multiple - 1) / multiple * multiple;
  Words q(m.rows * m.cols / 8), zeros(gemm ? m.n_groups * m.rows / 8 : m.rows * width);
  std::vector<float> scales(size_t(gemm ? m.n_groups * m.rows : m.rows * width * 8), 0);
  for (int64_t n = 0; n < m.rows; ++n) {
    const int64_t in_word = n / 8 * 8 + kNibble[n % 8];
    for (int64_t k = 0; k < m.cols; ++k) {
      const int value = m.q[size_t(n * m.cols + k)];
      if (gemm) q.set(k * (m.rows / 8), 1, in_word, 4, value);
      if (!gemm) q.set(n * (m.cols / 8), 1, k, 4, value);
    }
    for (int64_t g = 0; g < m.n_groups; ++g) {
      const int zero = m.zeros[size_t(n * m.n_groups + g)];
      if (gemm) zeros.set(g * (m.rows / 8), 1, in_word, 4, zero);
      if (!gemm) zeros.set(n * width, 1, g, 4, zero);
      scales[size_t(gemm ? g * m.rows + n : n * width * 8 + g)] =
          m.scales[size_t(n * m.n_groups + g)];
    }
  }
  using Shape = std::vector<int64_t>;
  folder.tensors[stem + ".qweight"] = {
      "I32", gemm ? Shape{m.cols, m.rows / 8} : Shape{m.rows, m.cols / 8}, q.bytes()};
  folder.tensors[stem + ".qzeros"] = {
      "I32", gemm ? Shape{m.n_groups, m.rows / 8} : Shape{m.rows, width}, zeros.bytes()};
  folder.tensors[stem + ".scales"] = {scheme.scale_type,
                                      gemm ? Shape{m.n_groups, m.rows} : Shape{m.rows, width * 8},
                                      scale_bytes(scheme.scale_type, scales)};
}

inline void add_compressed(HfFolder& folder, const std::string& stem, const Scheme& scheme,
                           const KnownMatrix& m) {
  const int bits = scheme.bits;
  const int64_t words = (m.cols * bits + 31) / 32, zero_words = (m.rows * bits + 31) / 32;
  if (scheme.packing == Packing::bytes) {
    std::string bytes;
    for (const int q : m.q) bytes.push_back(char(q - 128));
    folder.tensors[stem + ".weight"] = {"I8", {m.rows, m.cols}, bytes};
    std::string zeros;
    for (const int z : m.zeros) zeros.push_back(char(z - 128));
    if (!scheme.symmetric)
      folder.tensors[stem + ".weight_zero_point"] = {"I8", {m.rows, m.n_groups}, zeros};
  } else {
    Words q(m.rows * words), zeros(zero_words * m.n_groups);
    for (int64_t n = 0; n < m.rows; ++n) {
      for (int64_t k = 0; k < m.cols; ++k)
        q.set(n * words, 1, k, bits, m.q[size_t(n * m.cols + k)]);
      for (int64_t g = 0; g < m.n_groups; ++g)
        zeros.set(g, m.n_groups, n, bits, m.zeros[size_t(n * m.n_groups + g)]);
    }
    folder.tensors[stem + ".weight_packed"] = {"I32", {m.rows, words}, q.bytes()};
    if (!scheme.symmetric)
      folder.tensors[stem + ".weight_zero_point"] = {
          "I32", {zero_words, m.n_groups}, zeros.bytes()};
    const int64_t shape[2] = {m.rows, m.cols};
    folder.tensors[stem + ".weight_shape"] = {
        "I64", {2}, std::string(reinterpret_cast<const char*>(shape), sizeof shape)};
  }
  folder.tensors[stem + ".weight_scale"] = {
      scheme.scale_type, {m.rows, m.n_groups}, scale_bytes(scheme.scale_type, m.scales)};
  if (scheme.act_order)
    folder.tensors[stem + ".weight_g_idx"] = {"I32", {m.cols}, int_bytes(m.group_of)};
}

inline void add_module(HfFolder& folder, const std::string& stem, const Scheme& scheme,
                       const KnownMatrix& m) {
  folder.tensors.erase(stem + ".weight");
  switch (scheme.packing) {
    case Packing::gptq_v1:
    case Packing::gptq_v2:
      return add_gptq(folder, stem, scheme, m);
    case Packing::awq_gemm:
    case Packing::awq_gemv:
      return add_awq(folder, stem, scheme, m);
    default:
      return add_compressed(folder, stem, scheme, m);
  }
}

inline Json quantization_config(const Scheme& scheme) {
  switch (scheme.packing) {
    case Packing::gptq_v1:
    case Packing::gptq_v2:
      return {{"quant_method", "gptq"},
              {"bits", scheme.bits},
              {"group_size", scheme.group},
              {"desc_act", scheme.act_order},
              {"sym", scheme.symmetric},
              {"checkpoint_format", scheme.packing == Packing::gptq_v1 ? "gptq" : "gptq_v2"}};
    case Packing::awq_gemm:
    case Packing::awq_gemv:
      return {{"quant_method", "awq"},
              {"bits", scheme.bits},
              {"group_size", scheme.group},
              {"zero_point", true},
              {"version", scheme.packing == Packing::awq_gemm ? "gemm" : "GEMV"}};
    default:
      break;
  }
  Json weights = {{"num_bits", scheme.bits},
                  {"type", "int"},
                  {"symmetric", scheme.symmetric},
                  {"strategy", scheme.group == -1 ? "channel" : "group"}};
  if (scheme.group != -1) weights["group_size"] = scheme.group;
  return {{"quant_method", "compressed-tensors"},
          {"format", scheme.packing == Packing::bytes ? "int-quantized" : "pack-quantized"},
          {"config_groups", {{"group_0", {{"targets", {"Linear"}}, {"weights", weights}}}}},
          {"ignore", {"lm_head"}}};
}

// A llama of two layers as integers, and as the floats that they stand for.
struct KnownModel {
  HfFolder quantized, plain;
};

// Every "*_proj" of `model` that a module can be: [rows, cols] of whole words.
inline void quantize_modules(KnownModel& model, const Scheme& scheme) {
  model.quantized = model.plain;
  model.quantized.config["quantization_config"] = quantization_config(scheme);
  const auto whole = [](const HfTensor& t) {
    return t.shape.size() == 2 && t.shape[0] % 32 == 0 && t.shape[1] % 32 == 0;
  };
  uint64_t seed = 500;
  std::vector<std::string> names;
  for (const auto& [name, tensor] : model.plain.tensors) names.push_back(name);
  for (const std::string& name : names) {
    const HfTensor tensor = model.plain.tensors.at(name);
    const bool linear = name.find("proj.weight") != std::string::npos ||
                        name.find(".experts.") != std::string::npos;
    if (!linear || !whole(tensor)) continue;
    const std::string stem = name.substr(0, name.size() - std::string(".weight").size());
    // Those that read the same input are siblings: the order depends on what stands before.
    const size_t dot = stem.rfind('.');
    const std::string module = stem.substr(dot + 1);
    const bool down = module == "down_proj" || module == "w2", out = module == "o_proj";
    const uint64_t input = std::hash<std::string>()(stem.substr(0, dot) + (down  ? "/down"
                                                                           : out ? "/out"
                                                                                 : ""));
    const KnownMatrix m = known_matrix(scheme, tensor.shape[0], tensor.shape[1], ++seed, input);
    model.plain.set(name, tensor.shape, m.numbers());
    add_module(model.quantized, stem, scheme, m);
  }
}

inline KnownModel known_llama(const Scheme& scheme) {
  constexpr int64_t kModel = 128, kFf = 256, kHeads = 2, kHead = 64, kVocab = 40;
  KnownModel model;
  HfFolder& plain = model.plain;
  plain.config = {{"architectures", {"LlamaForCausalLM"}},
                  {"hidden_size", kModel},
                  {"intermediate_size", kFf},
                  {"num_hidden_layers", 2},
                  {"num_attention_heads", kHeads},
                  {"num_key_value_heads", 1},
                  {"vocab_size", kVocab},
                  {"max_position_embeddings", 64},
                  {"rms_norm_eps", 1e-5},
                  {"tie_word_embeddings", false}};
  plain.add("model.embed_tokens.weight", {kVocab, kModel});
  plain.add("lm_head.weight", {kVocab, kModel});
  plain.add("model.norm.weight", {kModel});
  model.quantized = plain;
  model.quantized.config["quantization_config"] = quantization_config(scheme);
  uint64_t seed = 100;
  for (int layer = 0; layer < 2; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    for (const char* norm : {"input_layernorm.weight", "post_attention_layernorm.weight"}) {
      plain.add(prefix + norm, {kModel});
      model.quantized.tensors[prefix + norm] = plain.tensors[prefix + norm];
    }
    const auto add = [&](const std::string& name, int64_t rows, int64_t cols, uint64_t input) {
      const KnownMatrix m = known_matrix(scheme, rows, cols, ++seed, uint64_t(layer) * 10 + input);
      plain.set(prefix + name + ".weight", {rows, cols}, m.numbers());
      add_module(model.quantized, prefix + name, scheme, m);
    };
    add("self_attn.q_proj", kHeads * kHead, kModel, 1);
    add("self_attn.k_proj", kHead, kModel, 1);
    add("self_attn.v_proj", kHead, kModel, 1);
    add("self_attn.o_proj", kModel, kHeads * kHead, 2);
    add("mlp.gate_proj", kFf, kModel, 3);
    add("mlp.up_proj", kFf, kModel, 3);
    add("mlp.down_proj", kModel, kFf, 4);
  }
  return model;
}

}  // namespace lm::test
