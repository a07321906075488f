// Converted Hugging Face models against the logits that transformers computes for them.
#include "engine/tools/convert.h"

#include "engine/model/model.h"
#include "tests/golden/expected_logits.h"

namespace fs = std::filesystem;

namespace lm::test {
namespace {

// Writes `out` with matrices in f32 and no vocabulary, and checks that it opens as what it is.
gguf::File convert_plain(const fs::path& folder, const fs::path& out,
                         std::string_view architecture) {
  const ConvertReport report = require_ok(
      convert({.in = folder, .out = out, .type = DType::f32, .vocab = false, .progress = {}}));
  CHECK(report.architecture == architecture);
  gguf::File file = require_ok(gguf::File::open(out));
  CHECK(file.tensors().size() == report.n_tensors);
  CHECK(require_ok(read_config(file)).family == architecture);
  return file;
}

TEST_CASE("logits of every converted family") {
  LM_FIXTURE(logits, "logits");
  const TempDir temp;
  const std::pair<std::string, std::string_view> models[] = {
      {"tiny_llama", "llama"},        {"tiny_qwen2", "qwen2"},   {"tiny_qwen3", "qwen3"},
      {"tiny_mistral", "llama"},      {"tiny_smollm2", "llama"}, {"tiny_mixtral", "llama"},
      {"tiny_qwen3_moe", "qwen3moe"}, {"tiny_gemma3", "gemma3"}, {"tiny_phi3", "phi3"},
      {"tiny_gpt_oss", "gpt-oss"}};
  for (const auto& [name, architecture] : models) {
    CAPTURE(name);
    const fs::path folder = temp.path() / name;
    fs::create_directories(folder);
    fs::copy_file(logits / (name + "_config.json"), folder / "config.json");
    fs::copy_file(logits / (name + ".safetensors"), folder / "model.safetensors");
    const gguf::File file = convert_plain(folder, temp.path() / (name + ".gguf"), architecture);
    check_logits(file, read_expected(logits / (name + "_logits.json")));
  }
}

TEST_CASE("logits of a model converted from two shards") {
  LM_FIXTURE(logits, "logits");
  const TempDir temp;
  fs::copy_file(logits / "tiny_llama_config.json", temp.path() / "config.json");
  fs::copy_file(logits / "tiny_llama.safetensors.index.json",
                temp.path() / "model.safetensors.index.json");
  for (const char* shard :
       {"tiny_llama-00001-of-00002.safetensors", "tiny_llama-00002-of-00002.safetensors"}) {
    fs::copy_file(logits / shard, temp.path() / shard);
  }
  const gguf::File file = convert_plain(temp.path(), temp.path() / "out.gguf", "llama");
  check_logits(file, read_expected(logits / "tiny_llama_logits.json"));
}

}  // namespace
}  // namespace lm::test
