// Files that other programs wrote: a few facts of each.
#include <string>

#include "gguf/file.h"
#include "tests/support/support.h"

namespace lm::gguf {
namespace {

struct Vocabulary {
  const char* path;
  const char* model;
  size_t n_tokens;
};

TEST_CASE("vocabulary files of other writers are read") {
  const Vocabulary all[] = {
      {"tokenizers/ggml-vocab-gpt-2.gguf", "gpt2", 50257},
      {"tokenizers/ggml-vocab-llama-spm.gguf", "llama", 32000},
      {"tokenizers/ggml-vocab-phi-3.gguf", "llama", 32064},
      {"tokenizers/ggml-vocab-deepseek-llm.gguf", "gpt2", 102400},
      {"tokenizers/vocab-qwen2.gguf", "gpt2", 151665},
      {"tokenizers/vocab-llama-bpe.gguf", "gpt2", 128256},
  };
  for (const Vocabulary& expected : all) {
    CAPTURE(std::string(expected.path));
    LM_FIXTURE(path, expected.path);
    const File file = test::require_ok(File::open(path));
    CHECK(file.tensors().empty());
    CHECK(file.version() == 3);
    CHECK(test::require_ok(file.str("tokenizer.ggml.model")) == expected.model);
    CHECK(test::require_ok(file.strs("tokenizer.ggml.tokens")).size() == expected.n_tokens);
    CHECK(test::require_ok(file.i32s("tokenizer.ggml.token_type")).size() == expected.n_tokens);
    CHECK(file.file_bytes() == std::filesystem::file_size(path));
  }
}

TEST_CASE("stories260K.gguf is read") {
  LM_FIXTURE(path, "models/stories260K/stories260K.gguf");
  const File file = test::require_ok(File::open(path));
  CHECK(test::require_ok(file.str("general.architecture")) == "llama");
  CHECK(test::require_ok(file.u32("llama.embedding_length")) == 64);
  CHECK(test::require_ok(file.u32("llama.block_count")) == 5);
  CHECK(test::require_ok(file.u32("llama.attention.head_count")) == 8);
  CHECK(test::require_ok(file.u32("llama.attention.head_count_kv")) == 4);
  CHECK(test::require_ok(file.strs("tokenizer.ggml.tokens")).size() == 512);
  CHECK(test::require_ok(file.u32("tokenizer.ggml.padding_token_id")) == 0xFFFFFFFF);
  CHECK(file.value("tokenizer.ggml.pre") == nullptr);
  const TensorInfo* embedding = file.tensor("token_embd.weight");
  REQUIRE(embedding != nullptr);
  CHECK(embedding->dtype == DType::f32);
  CHECK(embedding->n_dims == 2);
  CHECK(embedding->dims == std::array<int64_t, 4>{64, 512, 1, 1});
  CHECK(embedding->bytes.size() == 64 * 512 * 4);
  CHECK(file.tensor("token_embd.weigh") == nullptr);
}

TEST_CASE("quantized models are read") {
  LM_FIXTURE(path, "models/TinyStories-656K/TinyStories-656K-Q8_0.gguf");
  const File file = test::require_ok(File::open(path));
  const TensorInfo* up = file.tensor("blk.1.ffn_up.weight");
  REQUIRE(up != nullptr);
  CHECK(up->dtype == DType::q8_0);
  CHECK(up->bytes.size() == size_t(up->dims[0] / 32 * 34 * up->dims[1]));
}

TEST_CASE("the same model as f32 and f16 has the same shapes") {
  LM_FIXTURE(f32_path, "logits/tiny_llama_f32.gguf");
  LM_FIXTURE(f16_path, "logits/tiny_llama_f16.gguf");
  const File wide = test::require_ok(File::open(f32_path));
  const File half = test::require_ok(File::open(f16_path));
  CHECK(wide.tensors().size() == half.tensors().size());
  int n_half = 0;
  for (const TensorInfo& tensor : wide.tensors()) {
    CAPTURE(tensor.name);
    const TensorInfo* other = half.tensor(tensor.name);
    REQUIRE(other != nullptr);
    CHECK(other->dims == tensor.dims);
    n_half += other->dtype == DType::f16 ? 1 : 0;
  }
  CHECK(n_half > 0);
}

}  // namespace
}  // namespace lm::gguf
