// Logits and greedy text against references that were not written here (see the fixtures' README).
#include <algorithm>

#include "engine/core/file.h"
#include "engine/text/tokenizer.h"
#include "tests/golden/expected_logits.h"

namespace lm::test {
namespace {

TEST_CASE("logits of the f32 file") {
  LM_FIXTURE(model, "logits/tiny_llama_f32.gguf");
  LM_FIXTURE(logits, "logits/tiny_llama_logits.json");
  check_logits(require_ok(gguf::File::open(model)), read_expected(logits));
}

// Files of rounded weights, against the double-precision decoder on the same rounded weights.
void check_rounded(const std::filesystem::path& path, double tolerance) {
  const gguf::File file = require_ok(gguf::File::open(path));
  const ReferenceDecoder reference(file);
  const std::vector<TokenId> tokens = random_tokens(12, int(reference.n_vocab()), 3);
  const std::vector<Vec> expected = reference.logits(tokens);
  for (const std::string_view isa : cpu::usable_isas()) {
    CAPTURE(isa);
    ModelRunner runner(file, {.isa = std::string(isa)});
    CHECK(worst_error(runner.run(tokens), expected) <= tolerance);
  }
}

TEST_CASE("logits of the f16 file") {
  LM_FIXTURE(model, "logits/tiny_llama_f16.gguf");
  check_rounded(model, kTolerance);
}

// Activations are rounded to 8 bits where weights are: see tests/model/forward_test.cpp.
TEST_CASE("logits of the q8_0 file") {
  LM_FIXTURE(model, "logits/tiny_llama_q8.gguf");
  check_rounded(model, 0.052);
}

TEST_CASE("stories260K tells its story") {
  LM_FIXTURE(model, "models/stories260K/stories260K.gguf");
  LM_FIXTURE(story, "models/stories260K/greedy_200.txt");
  const std::string expected = require_ok(read_file(story, 1 << 20));
  const gguf::File file = require_ok(gguf::File::open(model));
  const std::unique_ptr<Tokenizer> tokenizer = require_ok(Tokenizer::from_gguf(file));
  for (const std::string_view isa : cpu::usable_isas()) {
    for (const int n_threads : {1, 2}) {
      CAPTURE(isa);
      CAPTURE(n_threads);
      ModelRunner runner(file, {.isa = std::string(isa), .n_threads = n_threads});
      const std::vector<int32_t> blocks = runner.take_blocks(200);
      std::vector<TokenId> written;
      TokenId token = tokenizer->bos();
      for (int position = 0; position < 200; ++position) {
        const Chunk chunk{{token}, position, blocks};
        const std::vector<float> logits = runner.step(std::span(&chunk, 1));
        token = TokenId(std::max_element(logits.begin(), logits.end()) - logits.begin());
        written.push_back(token);
      }
      CHECK(tokenizer->decode(written) == expected);
    }
  }
}

}  // namespace
}  // namespace lm::test
