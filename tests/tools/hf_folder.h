// tests/tools/hf_folder.h — writes small model folders as the Hub has them.
#pragma once
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/json.h"
#include "engine/tools/convert.h"
#include "gguf/file.h"
#include "quant/decode.h"
#include "tests/support/support.h"

namespace lm::test {

inline void write_text(const std::filesystem::path& path, std::string_view text) {
  std::ofstream out(path, std::ios::binary);  // (a FileWriter would wait for the disk)
  out << text;
  REQUIRE(out.good());
}

struct HfTensor {
  std::string type;  // "F32", "U8", ...
  std::vector<int64_t> shape;
  std::string bytes;
};

// A folder being put together; save() writes config.json, model.safetensors and `texts`.
struct HfFolder {
  Json config = Json::object();
  std::map<std::string, HfTensor> tensors;
  std::map<std::string, std::string> texts;  // file name, content
  std::string metadata;                      // of the safetensors header; "": none

  static int64_t count(const std::vector<int64_t>& shape) {
    int64_t n = 1;
    for (const int64_t dim : shape) n *= dim;
    return n;
  }

  // Seeded noise.
  std::vector<float> add(const std::string& name, std::vector<int64_t> shape, uint64_t seed = 1) {
    Random random(seed * 1000003 + std::hash<std::string>()(name));
    std::vector<float> values(size_t(count(shape)));
    for (float& x : values) x = random.normal();
    set(name, std::move(shape), values);
    return values;
  }
  void set(const std::string& name, std::vector<int64_t> shape, std::span<const float> values) {
    tensors[name] = {
        "F32", std::move(shape),
        std::string(reinterpret_cast<const char*>(values.data()), values.size_bytes())};
  }
  void set_bytes(const std::string& name, std::vector<int64_t> shape, std::string bytes) {
    tensors[name] = {"U8", std::move(shape), std::move(bytes)};
  }

  void save(const std::filesystem::path& path) const {
    std::filesystem::create_directories(path);
    write_text(path / "config.json", dump_json(config));
    Json header = Json::object();
    if (!metadata.empty()) header["__metadata__"] = require_ok(parse_json(metadata));
    std::string data;
    for (const auto& [name, tensor] : tensors) {
      header[name] = {{"dtype", tensor.type},
                      {"shape", tensor.shape},
                      {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
      data += tensor.bytes;
    }
    const std::string text = dump_json(header);
    const uint64_t length = text.size();
    std::string file(sizeof(length), '\0');
    std::memcpy(file.data(), &length, sizeof(length));
    write_text(path / "model.safetensors", file + text + data);
    for (const auto& [name, content] : texts) write_text(path / name, content);
  }

  Result<ConvertReport> convert_to(const std::filesystem::path& out, std::optional<DType> type = {},
                                   bool vocab = false) const {
    const std::filesystem::path folder = out.native() + ".folder";
    std::filesystem::remove_all(folder);
    save(folder);
    return convert({.in = folder, .out = out, .type = type, .vocab = vocab, .progress = {}});
  }
};

// One layer, d_model 8, two heads of 4, one of them for K and V, d_ff 12, 11 tokens.
inline HfFolder tiny_llama() {
  HfFolder folder;
  folder.config = {{"architectures", {"LlamaForCausalLM"}},
                   {"hidden_size", 8},
                   {"intermediate_size", 12},
                   {"num_hidden_layers", 1},
                   {"num_attention_heads", 2},
                   {"num_key_value_heads", 1},
                   {"vocab_size", 11},
                   {"max_position_embeddings", 64},
                   {"rms_norm_eps", 1e-5},
                   {"tie_word_embeddings", false}};
  folder.add("model.embed_tokens.weight", {11, 8});
  folder.add("lm_head.weight", {11, 8});
  folder.add("model.norm.weight", {8});
  const std::string layer = "model.layers.0.";
  folder.add(layer + "input_layernorm.weight", {8});
  folder.add(layer + "post_attention_layernorm.weight", {8});
  folder.add(layer + "self_attn.q_proj.weight", {8, 8});
  folder.add(layer + "self_attn.k_proj.weight", {4, 8});
  folder.add(layer + "self_attn.v_proj.weight", {4, 8});
  folder.add(layer + "self_attn.o_proj.weight", {8, 8});
  folder.add(layer + "mlp.gate_proj.weight", {12, 8});
  folder.add(layer + "mlp.up_proj.weight", {12, 8});
  folder.add(layer + "mlp.down_proj.weight", {8, 12});
  return folder;
}

// A tensor's numbers; REQUIREs that it exists.
inline std::vector<float> numbers_of(const gguf::File& file, std::string_view name) {
  const gguf::TensorInfo* info = file.tensor(name);
  CAPTURE(name);
  REQUIRE(info != nullptr);
  int64_t n = 1;
  for (const int64_t dim : info->dims) n *= dim;
  std::vector<float> values(size_t(n), 0.0f);
  decode(info->dtype, info->bytes.data(), values.data(), n);
  return values;
}

}  // namespace lm::test
