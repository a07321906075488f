// Vocabularies as files hold them, damaged ones above all: an error in one sentence, or sense.
#include <cmath>
#include <functional>

#include "gguf/writer.h"
#include "tests/text/text_support.h"

using namespace lm;
using test::encode;

namespace {

const std::vector<std::string> kTokens = {"<unk>", "<s>", "</s>", "<0x0A>", "▁", "a", "b", "ab"};
const std::vector<float> kScores = {0, 0, 0, 0, -4, -5, -6, -7};
const std::vector<int32_t> kTypes = {2, 3, 3, 6, 1, 1, 1, 1};

gguf::Writer spm_writer() {
  gguf::Writer writer;
  writer.set_str("general.architecture", "llama");
  writer.set_str("tokenizer.ggml.model", "llama");
  writer.set_strs("tokenizer.ggml.tokens", kTokens);
  writer.set_f32s("tokenizer.ggml.scores", kScores);
  writer.set_i32s("tokenizer.ggml.token_type", kTypes);
  return writer;
}

Result<std::unique_ptr<Tokenizer>> open(const gguf::Writer& writer) {
  const auto bytes = test::require_ok(writer.to_bytes(nullptr));
  return Tokenizer::from_gguf(test::require_ok(gguf::File::parse(bytes)));
}

// The error is of this kind, in one line, and has this in it.
void check_error(const Result<std::unique_ptr<Tokenizer>>& result, ErrorCode code,
                 std::string_view part) {
  REQUIRE_FALSE(result.ok());
  CAPTURE(result.error().message);
  CHECK(result.error().code == code);
  CHECK(result.error().message.find(part) != std::string::npos);
  CHECK(result.error().message.find('\n') == std::string::npos);
}

void check_damage(const std::function<void(gguf::Writer&)>& damage, std::string_view part,
                  ErrorCode code = ErrorCode::bad_file) {
  gguf::Writer writer = spm_writer();
  damage(writer);
  check_error(open(writer), code, part);
}

}  // namespace

TEST_CASE("vocab: what a file says is what the tokenizer knows") {
  gguf::Writer writer = spm_writer();
  writer.set_u32("tokenizer.ggml.bos_token_id", 1);
  writer.set_u32("tokenizer.ggml.eos_token_id", 2);
  writer.set_bool("tokenizer.ggml.add_bos_token", false);
  writer.set_bool("tokenizer.ggml.add_eos_token", true);
  writer.set_bool("tokenizer.ggml.add_space_prefix", false);
  const auto tokenizer = test::require_ok(open(writer));
  CHECK(tokenizer->size() == 8);
  CHECK(tokenizer->bos() == 1);
  CHECK(tokenizer->eos() == 2);
  CHECK_FALSE(tokenizer->add_bos());
  CHECK(tokenizer->add_eos());
  CHECK_FALSE(tokenizer->has_space_prefix());
  CHECK(tokenizer->is_end(2));
  CHECK(encode(*tokenizer, "ab\nb") == std::vector<TokenId>{7, 3, 6});
  CHECK(tokenizer->find("ab") == 7);
  CHECK(tokenizer->find("ba") == -1);
  CHECK(tokenizer->piece(4) == " ");
  CHECK(tokenizer->text(4) == "▁");
  CHECK(tokenizer->type(3) == TokenType::byte);
  for (const TokenId outside : {-1, 8, INT32_MAX, INT32_MIN}) {
    CHECK(tokenizer->piece(outside).empty());
    CHECK(tokenizer->text(outside).empty());
    CHECK(tokenizer->type(outside) == TokenType::undefined);
    CHECK_FALSE(tokenizer->is_end(outside));
  }
}

TEST_CASE("vocab: ids that mean none, and Llama's where an old file is silent") {
  gguf::Writer writer = spm_writer();
  const auto silent = test::require_ok(open(writer));
  CHECK(silent->bos() == 1);
  CHECK(silent->eos() == 2);
  CHECK(silent->add_bos());
  writer.set_u32("tokenizer.ggml.bos_token_id", 0xFFFFFFFF);
  writer.set_i32("tokenizer.ggml.eos_token_id", -1);
  writer.set_u32("tokenizer.ggml.padding_token_id", 0xFFFFFFFF);
  const auto none = test::require_ok(open(writer));
  CHECK(none->bos() == -1);
  CHECK(none->eos() == -1);
  CHECK_FALSE(none->add_bos());
}

TEST_CASE("vocab: damaged files are refused in one sentence") {
  using gguf::Writer;
  check_damage([](Writer& w) { w.set_u32("tokenizer.ggml.bos_token_id", 8); }, "bos_token_id is 8");
  check_damage([](Writer& w) { w.set_u64("tokenizer.ggml.eot_token_id", uint64_t{1} << 40); },
               "eot_token_id");
  check_damage([](Writer& w) { w.set_i32("tokenizer.ggml.unknown_token_id", -7); }, "is -7");
  check_damage([](Writer& w) { w.set_str("tokenizer.ggml.eos_token_id", "2"); }, "eos_token_id");
  check_damage([](Writer& w) { w.set_u32("tokenizer.ggml.tokens", 3); }, "tokenizer.ggml.tokens");
  check_damage([](Writer& w) { w.set_strs("tokenizer.ggml.tokens", {}); }, "no tokens");
  check_damage([](Writer& w) { w.set_f32s("tokenizer.ggml.scores", std::vector<float>(7)); },
               "8 tokens but 7 scores");
  check_damage([](Writer& w) { w.set_i32s("tokenizer.ggml.token_type", std::vector<int32_t>(3)); },
               "8 tokens but 3 token types");
  check_damage([](Writer& w) { w.set_f32s("tokenizer.ggml.scores", std::vector<float>(8, NAN)); },
               "not a number");
  check_damage([](Writer& w) { w.set_str("tokenizer.ggml.add_space_prefix", "yes"); },
               "add_space_prefix");
  for (const std::string byte : {"<0x-1>", "<0x0>", "<0x0A", "0x0A", "<0xGG>", "<0x0A>>", ""}) {
    std::vector<std::string> tokens = kTokens;
    tokens[3] = byte;
    check_damage([&](Writer& w) { w.set_strs("tokenizer.ggml.tokens", tokens); }, "<0xHH>");
  }
  for (const std::string merge : {"a c", "ab", "", " ", "a", "a  b", "a b a", "b a"}) {
    const std::vector<std::string> merges = {"a b", merge};
    check_damage([&](Writer& w) { w.set_strs("tokenizer.ggml.merges", merges); }, "merge 1");
  }
  std::vector<std::string> huge = kTokens;
  huge[5].assign(1 << 20, 'a');
  check_damage([&](Writer& w) { w.set_strs("tokenizer.ggml.tokens", huge); }, "1048576 bytes");
}

TEST_CASE("vocab: kinds that nothing here can read") {
  using gguf::Writer;
  for (const char* kind : {"none", "no_vocab"}) {
    check_damage([&](Writer& w) { w.set_str("tokenizer.ggml.model", kind); }, "no vocabulary",
                 ErrorCode::unsupported);
  }
  check_error(open(gguf::Writer()), ErrorCode::unsupported, "no vocabulary");
  check_damage([](Writer& w) { w.set_str("tokenizer.ggml.model", "be\nrt"); }, "\"be?rt\"",
               ErrorCode::unsupported);
  check_damage(
      [](Writer& w) {
        w.set_str("tokenizer.ggml.model", "gpt2");
        w.set_str("tokenizer.ggml.pre", "never-heard-of");
      },
      "\"never-heard-of\"", ErrorCode::unsupported);
}

TEST_CASE("vocab: what is odd but harmless is tolerated") {
  gguf::Writer writer = spm_writer();
  std::vector<std::string> tokens = kTokens;
  tokens.insert(tokens.end(), {"a", "", "<0x0A>", "\xFF\xFE", "<s>"});
  std::vector<float> scores(20, -INFINITY);
  scores[4] = INFINITY;
  std::vector<int32_t> types(20, 1);
  types[0] = 2;
  types[1] = types[2] = types[12] = 3;
  types[3] = types[10] = 6;
  types[11] = 99;
  types[9] = 4;
  writer.set_strs("tokenizer.ggml.tokens", tokens);
  writer.set_f32s("tokenizer.ggml.scores", scores);
  writer.set_i32s("tokenizer.ggml.token_type", types);
  const auto tokenizer = test::require_ok(open(writer));
  CHECK(tokenizer->size() == 13);
  CHECK(tokenizer->find("a") == 5);
  CHECK(tokenizer->find("<s>") == 1);
  CHECK(tokenizer->type(11) == TokenType::undefined);
  CHECK(encode(*tokenizer, "a\n") == std::vector<TokenId>{4, 5, 3});
  CHECK(tokenizer->piece(10) == "\n");
}

TEST_CASE("vocab: without token types, byte tokens are known by their form") {
  Vocab vocab;
  vocab.tokens = {"<unk>", "<s>", "</s>", "<0x0A>", "▁", "a"};
  vocab.scores.resize(6);
  vocab.unk = 0;
  vocab.bos = 1;
  vocab.eos = 2;
  const auto tokenizer = test::require_ok(make_tokenizer(vocab));
  CHECK(encode(*tokenizer, "a\n") == std::vector<TokenId>{4, 5, 3});
  CHECK(tokenizer->type(0) == TokenType::unknown);
  CHECK(tokenizer->type(1) == TokenType::control);
  vocab.eos = 6;
  check_error(make_tokenizer(vocab), ErrorCode::bad_file, "the EOS token has id 6");
  vocab.eos = 2;
  vocab.scores.clear();
  check_error(make_tokenizer(vocab), ErrorCode::bad_file, "neither");
}
