// The ids of vocabularies that we did not make, against ids that we did not compute.
#include <sstream>

#include "engine/core/file.h"
#include "engine/core/text.h"
#include "tests/support/support.h"
#include "tests/text/text_support.h"

using namespace lm;
using test::encode;

namespace {

std::vector<std::string> split_texts(const std::string& all) {
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::vector<std::string> texts;
  size_t at = 0;
  for (size_t end; (end = all.find(separator, at)) != std::string::npos;) {
    texts.push_back(all.substr(at, end - at));
    at = end + separator.size();
  }
  return texts;
}

std::vector<std::vector<TokenId>> parse_ids(const std::string& all) {
  std::vector<std::vector<TokenId>> lines;
  std::istringstream in(all);
  for (std::string line; std::getline(in, line);) {
    std::istringstream numbers(line);
    lines.emplace_back();
    for (TokenId id; numbers >> id;) lines.back().push_back(id);
  }
  return lines;
}

void check_vocabulary(const std::filesystem::path& path) {
  CAPTURE(path.filename().string());
  const auto tokenizer = test::open_tokenizer(path);
  const std::string stem = path.string();
  const auto texts = split_texts(test::require_ok(read_file(stem + ".inp", 1 << 20)));
  const auto expected = parse_ids(test::require_ok(read_file(stem + ".out", 1 << 20)));
  REQUIRE(texts.size() > 40);
  REQUIRE(texts.size() == expected.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    CAPTURE(i);
    CAPTURE(texts[i]);
    const std::vector<TokenId> ids = encode(*tokenizer, texts[i]);
    CHECK(ids == expected[i]);
    CHECK(tokenizer->decode(ids) == texts[i]);
  }
}

}  // namespace

TEST_CASE("golden: every line of the six reference vocabularies") {
  LM_FIXTURE(folder, "tokenizers");
  for (const char* name : {"ggml-vocab-gpt-2", "ggml-vocab-llama-spm", "ggml-vocab-phi-3",
                           "ggml-vocab-deepseek-llm", "vocab-qwen2", "vocab-llama-bpe"}) {
    check_vocabulary(folder / (std::string(name) + ".gguf"));
  }
}
