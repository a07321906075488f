// Writes the seeds of the gguf, safetensors, vocab and checkpoint targets: small files of every
// kind that is accepted, for the fuzzer to start from. usage: make_seeds FOLDER
#include <array>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/text/byte_alphabet.h"
#include "gguf/safetensors_writer.h"
#include "gguf/writer.h"

namespace lm {
namespace {

using gguf::Value;
using gguf::ValueType;
using gguf::Writer;

Status save(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  std::error_code ignored;
  std::filesystem::create_directories(path.parent_path(), ignored);
  FileWriter file = LM_TRY(FileWriter::create(path));
  LM_TRY(file.write(bytes));
  return file.commit();
}

Status save(const std::filesystem::path& path, std::string_view text) {
  return save(path, std::as_bytes(std::span(text)));
}

// Tensors filled with their own number.
Result<std::vector<std::byte>> encode(const Writer& writer,
                                      const std::vector<size_t>& tensor_bytes) {
  return writer.to_bytes([&](size_t i, const Writer::Sink& sink) {
    return sink(std::vector<std::byte>(tensor_bytes[i], std::byte(i)));
  });
}

template <class T>
void set_number(Writer& writer, std::string_view key, ValueType type, T number) {
  const auto bytes = std::as_bytes(std::span(&number, 1));
  writer.set(key, Value{type, type, 1, bytes});
}

Status write_all_types(const std::filesystem::path& folder) {
  Writer writer;
  set_number(writer, "u8", ValueType::u8, uint8_t{1});
  set_number(writer, "i8", ValueType::i8, int8_t{-1});
  set_number(writer, "u16", ValueType::u16, uint16_t{2});
  set_number(writer, "i16", ValueType::i16, int16_t{-2});
  set_number(writer, "u32", ValueType::u32, uint32_t{3});
  set_number(writer, "i32", ValueType::i32, int32_t{-3});
  set_number(writer, "u64", ValueType::u64, uint64_t{4});
  set_number(writer, "i64", ValueType::i64, int64_t{-4});
  set_number(writer, "f32", ValueType::f32, 0.5f);
  set_number(writer, "f64", ValueType::f64, 0.25);
  writer.set_bool("b", true);
  writer.set_str("s", "text");
  writer.set_strs("strs", std::vector<std::string>{"", "<s>", "\xE2\x96\x81word"});
  writer.set_i32s("i32s", std::vector<int32_t>{1, -1});
  writer.set_f32s("f32s", std::vector<float>{0, -1e4f});
  // [[7], []]: element type u8 and count 1, a byte; element type string and count 0
  std::vector<std::byte> nested(25);
  nested[4] = std::byte{1};
  nested[12] = std::byte{7};
  nested[13] = std::byte{8};
  writer.set("nested", Value{ValueType::array, ValueType::array, 2, nested});
  std::vector<std::byte> bytes = LM_TRY(encode(writer, {}));
  LM_TRY(save(folder / "all_types", bytes));
  bytes[4] = std::byte{2};
  return save(folder / "version_2", bytes);
}

Status write_models(const std::filesystem::path& folder) {
  Writer empty;
  LM_TRY(save(folder / "empty", LM_TRY(encode(empty, {}))));

  Writer model;
  model.set_str("general.architecture", "llama");
  model.set_u32("llama.block_count", 1);
  model.set_strs("tokenizer.ggml.tokens", std::vector<std::string>{"<unk>", "a", "b"});
  LM_TRY(model.add_tensor("token_embd.weight", DType::f32, std::array<int64_t, 2>{4, 3}));
  LM_TRY(model.add_tensor("blk.0.ffn_up.weight", DType::q8_0, std::array<int64_t, 2>{32, 2}));
  LM_TRY(
      model.add_tensor("blk.0.ffn_up_exps.weight", DType::q4_K, std::array<int64_t, 3>{256, 1, 2}));
  LM_TRY(save(folder / "model", LM_TRY(encode(model, {48, 68, 288}))));

  Writer aligned;
  aligned.set_u32("general.alignment", 8);
  LM_TRY(aligned.add_tensor("a", DType::f16, std::array<int64_t, 4>{1, 2, 1, 3}));
  LM_TRY(aligned.add_tensor("b", DType::i8, std::array<int64_t, 1>{1}));
  LM_TRY(save(folder / "aligned_8", LM_TRY(encode(aligned, {12, 1}))));

  Writer part;
  set_number(part, "split.no", ValueType::u16, uint16_t{1});
  set_number(part, "split.count", ValueType::u16, uint16_t{2});
  part.set_i32("split.tensors.count", 2);
  LM_TRY(part.add_tensor("t", DType::bf16, std::array<int64_t, 1>{8}));
  return save(folder / "split_part", LM_TRY(encode(part, {16})));
}

Status write_safetensors(const std::filesystem::path& folder) {
  const auto file = [&](const char* name, const std::string& header, size_t n_data) {
    std::string text(8, '\0');
    const uint64_t length = header.size();
    std::memcpy(text.data(), &length, sizeof length);
    return save(folder / name, text + header + std::string(n_data, '\1'));
  };
  LM_TRY(file("empty", "{}  ", 0));
  LM_TRY(file("model",
              R"({"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2,2],)"
              R"("data_offsets":[0,16]},"b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]}})",
              22));
  LM_TRY(file("scalar_and_empty",
              R"({"s":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
              R"("e":{"dtype":"BOOL","shape":[4,0],"data_offsets":[8,8]}})",
              8));
  LM_TRY(
      save(folder / "index",
           std::string_view(R"({"metadata":{"total_size":8,"x":[1,-2,0.5,null,true]},"weight_map":)"
                            R"({"a":"model-00001-of-00002.safetensors",)"
                            R"("b":"model-00002-of-00002.safetensors"}})")));
  return save(folder / "index_nested", std::string_view(R"({"x":[[{}],[]],"weight_map":{}})"));
}

Writer vocabulary(const char* model, const std::vector<std::string>& tokens,
                  const std::vector<int32_t>& types) {
  Writer writer;
  writer.set_str("tokenizer.ggml.model", model);
  writer.set_strs("tokenizer.ggml.tokens", tokens);
  writer.set_i32s("tokenizer.ggml.token_type", types);
  return writer;
}

Status write_sentencepiece(const std::filesystem::path& folder) {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};
  const auto add = [&](const std::string& token, int32_t type) {
    tokens.push_back(token);
    types.push_back(type);
  };
  for (const char* piece : {"▁", "a", "b", "ab", "▁a", "▁▁", "é"}) add(piece, 1);
  add("<tool>", 4);
  Writer small = vocabulary("llama", tokens, types);
  small.set_f32s("tokenizer.ggml.scores",
                 std::vector<float>{0, 0, 0, -1, -2, -3, -4, -5, -6, -7, 0});
  small.set_bool("tokenizer.ggml.add_space_prefix", false);
  LM_TRY(save(folder / "spm_small", LM_TRY(encode(small, {}))));

  for (int b = 0; b < 256; ++b) {
    std::array<char, 8> name{};
    std::snprintf(name.data(), name.size(), "<0x%02X>", static_cast<unsigned>(b));
    add(name.data(), 6);
  }
  Writer bytes = vocabulary("llama", tokens, types);
  bytes.set_strs("tokenizer.ggml.merges", std::vector<std::string>{"a b", "▁ a", "▁ ▁"});
  bytes.set_u32("tokenizer.ggml.unknown_token_id", 0);
  bytes.set_u32("tokenizer.ggml.bos_token_id", 1);
  bytes.set_u32("tokenizer.ggml.eos_token_id", 0xFFFFFFFF);
  return save(folder / "spm_bytes", LM_TRY(encode(bytes, {})));
}

Status write_byte_level(const std::filesystem::path& folder) {
  const ByteAlphabet alphabet;
  std::vector<std::string> tokens = {"<|end|>", "<think>", "ab", "Ġa", "Ġab"};
  for (int b = 0; b < 256; ++b) tokens.push_back(alphabet.spell(std::string(1, char(b))));
  std::vector<int32_t> types(tokens.size(), 1);
  types[0] = 3;
  types[1] = 4;
  for (const char* pre : {"llama-bpe", "deepseek-llm", "gpt-4o"}) {
    Writer writer = vocabulary("gpt2", tokens, types);
    writer.set_str("tokenizer.ggml.pre", pre);
    writer.set_strs("tokenizer.ggml.merges", std::vector<std::string>{"a b", "Ġ a", "Ġ ab"});
    writer.set_u32("tokenizer.ggml.eos_token_id", 0);
    LM_TRY(save(folder / (std::string("bpe_") + pre), LM_TRY(encode(writer, {}))));
  }
  return ok();
}

// A layer of 32 x 32 matrices, stored as each method does. Numbers are all the same: a scale is
// 0.065 as f16, an integer whatever its bits are.
class Checkpoint {
 public:
  explicit Checkpoint(std::string method) : method_(std::move(method)) {
    add("model.embed_tokens.weight", ElementType::f16, {8, 32});
    add("lm_head.weight", ElementType::f16, {8, 32});
    for (const char* name : {"model.norm", "model.layers.0.input_layernorm",
                             "model.layers.0.post_attention_layernorm"}) {
      add(std::string(name) + ".weight", ElementType::f16, {32});
    }
    for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                             "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}) {
      add_matrix(std::string("model.layers.0.") + name);
    }
  }

  Status save(const std::filesystem::path& folder) const {
    const std::filesystem::path path = folder / "model.safetensors";
    std::error_code ignored;
    std::filesystem::create_directories(folder, ignored);
    LM_TRY(writer_.write(path, [&](size_t i, const safetensors::Writer::Sink& sink) {
      return sink(std::vector<std::byte>(sizes_[i], fills_[i]));
    }));
    const std::string tensors = LM_TRY(read_file(path, 1 << 20));
    std::filesystem::remove(path, ignored);
    return lm::save(folder / method_, config() + std::string(1, '\0') + tensors);
  }

 private:
  using ElementType = safetensors::ElementType;

  void add(std::string name, ElementType type, std::vector<int64_t> shape,
           std::byte fill = std::byte{0x2C}) {
    size_t bytes = type == ElementType::f16 ? 2 : 4;
    for (const int64_t dim : shape) bytes *= size_t(dim);
    sizes_.push_back(bytes);
    fills_.push_back(fill);
    LM_CHECK(writer_.add_tensor(std::move(name), type, std::move(shape)).ok());
  }
  void add_matrix(const std::string& stem) {
    if (method_ == "plain") {
      add(stem + ".weight", ElementType::f16, {32, 32});
    } else if (method_ == "compressed-tensors") {
      add(stem + ".weight_packed", ElementType::i32, {32, 4});
      add(stem + ".weight_scale", ElementType::f16, {32, 1});
    } else {
      const bool gptq = method_ == "gptq";
      const std::vector<int64_t> codes =
          gptq ? std::vector<int64_t>{4, 32} : std::vector<int64_t>{32, 4};
      add(stem + ".qweight", ElementType::i32, codes);
      add(stem + ".qzeros", ElementType::i32, {1, 4});
      add(stem + ".scales", ElementType::f16, {1, 32});
      if (gptq) add(stem + ".g_idx", ElementType::i32, {32}, std::byte{0});
    }
  }
  std::string config() const {
    std::string text =
        R"({"architectures":["LlamaForCausalLM"],"hidden_size":32,"intermediate_size":32,)"
        R"("num_hidden_layers":1,"num_attention_heads":1,"vocab_size":8,"rms_norm_eps":1e-5,)"
        R"("max_position_embeddings":64,"tie_word_embeddings":false)";
    if (method_ == "gptq") {
      text +=
          R"(,"quantization_config":{"quant_method":"gptq","bits":4,"group_size":32,"sym":false})";
    } else if (method_ == "awq") {
      text += R"(,"quantization_config":{"quant_method":"awq","bits":4,"group_size":32,)"
              R"("version":"gemm","zero_point":true})";
    } else if (method_ == "compressed-tensors") {
      text +=
          R"(,"quantization_config":{"quant_method":"compressed-tensors","format":"pack-quantized",)"
          R"("config_groups":{"group_0":{"targets":["Linear"],"weights":{"num_bits":4,)"
          R"("strategy":"group","group_size":32,"symmetric":true,"type":"int"}}},"ignore":["lm_head"]})";
    }
    return text + "}";
  }

  std::string method_;
  safetensors::Writer writer_;
  std::vector<size_t> sizes_;
  std::vector<std::byte> fills_;
};

Status write_checkpoints(const std::filesystem::path& folder) {
  for (const char* method : {"plain", "gptq", "awq", "compressed-tensors"}) {
    LM_TRY(Checkpoint(method).save(folder));
  }
  return ok();
}

Status write_seeds(const std::filesystem::path& folder) {
  LM_TRY(write_all_types(folder / "gguf"));
  LM_TRY(write_models(folder / "gguf"));
  LM_TRY(write_sentencepiece(folder / "vocab"));
  LM_TRY(write_byte_level(folder / "vocab"));
  LM_TRY(write_checkpoints(folder / "checkpoint"));
  return write_safetensors(folder / "safetensors");
}

}  // namespace
}  // namespace lm

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_seeds FOLDER\n");
    return 2;
  }
  const lm::Status status = lm::write_seeds(argv[1]);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.error().message.c_str());
  return 1;
}
