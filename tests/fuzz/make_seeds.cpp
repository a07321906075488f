// Writes the seeds of the gguf, safetensors and vocab targets: small files of every kind that is
// accepted, for the fuzzer to start from. usage: make_seeds FOLDER
#include <array>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "engine/core/file.h"
#include "engine/text/byte_alphabet.h"
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

Status write_seeds(const std::filesystem::path& folder) {
  LM_TRY(write_all_types(folder / "gguf"));
  LM_TRY(write_models(folder / "gguf"));
  LM_TRY(write_sentencepiece(folder / "vocab"));
  LM_TRY(write_byte_level(folder / "vocab"));
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
