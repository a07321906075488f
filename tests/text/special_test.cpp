#include "engine/text/special_matcher.h"
#include "tests/text/text_support.h"

using namespace lm;
using test::cut;
using test::encode;

namespace {

std::unique_ptr<Tokenizer> make(Vocab vocab) {
  return test::require_ok(make_tokenizer(std::move(vocab)));
}

constexpr auto kParse = Tokenizer::Special::parse;

}  // namespace

TEST_CASE("special: the leftmost match, and of those the longest") {
  SpecialMatcher matcher;
  matcher.add("<|a|>", 1);
  matcher.add("<|a|>b", 2);
  matcher.add("a|>bc", 3);
  matcher.add("<", 4);
  matcher.add("", 5);
  matcher.add("<", 6);
  const auto check = [&](std::string_view text, size_t from, size_t begin, size_t length, int id) {
    const auto match = matcher.find(text, from);
    REQUIRE(match);
    CHECK(match->begin == begin);
    CHECK(match->length == length);
    CHECK(match->id == id);
  };
  check("x<|a|>bc", 0, 1, 6, 2);
  check("x<|a|>c", 0, 1, 5, 1);
  check("x<|a|", 0, 1, 1, 4);
  check("<|a|>bc", 1, 2, 5, 3);
  CHECK_FALSE(matcher.find("plain", 0));
  CHECK_FALSE(matcher.find("", 0));
  CHECK_FALSE(SpecialMatcher().find("<", 0));
}

TEST_CASE("special: control tokens are parsed on demand, user-defined ones always") {
  Vocab vocab = test::byte_vocab({"h i"}, {"<|im_start|>", "<|im_end|>", "<think>"});
  vocab.types.back() = TokenType::user_defined;
  const auto tokenizer = make(vocab);
  CHECK(cut(*tokenizer, "<|im_start|>hi<|im_end|>", kParse) == "<|im_start|>|hi|<|im_end|>");
  CHECK(encode(*tokenizer, "<|im_end|>").size() == 10);
  CHECK(cut(*tokenizer, "hi<think>hi") == "hi|<think>|hi");
  CHECK(tokenizer->decode(encode(*tokenizer, "hi<think>hi")) == "hi<think>hi");
  CHECK(tokenizer->decode(encode(*tokenizer, "hi<|im_end|>hi", kParse)) == "hihi");
  const TokenId end = tokenizer->find("<|im_end|>");
  CHECK(tokenizer->piece(end).empty());
  CHECK(tokenizer->text(end) == "<|im_end|>");
  CHECK(tokenizer->type(end) == TokenType::control);
}

TEST_CASE("special: the ends of a generation") {
  Vocab vocab =
      test::byte_vocab({}, {"<s>", "</s>", "<|eot_id|>", "<|eom_id|>", "<end>", "<turn>"});
  vocab.bos = 256;
  vocab.eos = 260;
  vocab.eot = 261;
  const auto tokenizer = make(vocab);
  CHECK(tokenizer->eos() == 260);
  for (const TokenId id : {257, 258, 259, 260, 261}) CHECK(tokenizer->is_end(id));
  for (const TokenId id : {0, 255, 256, -1, 262}) CHECK_FALSE(tokenizer->is_end(id));

  vocab.types[257] = TokenType::normal;  // HTML's </s>
  vocab.types[258] = TokenType::user_defined;
  const auto other = make(vocab);
  CHECK_FALSE(other->is_end(257));
  CHECK(other->is_end(258));
  CHECK(other->type(258) == TokenType::control);
  CHECK(encode(*other, "<|eot_id|>").size() == 10);
}

TEST_CASE("special: gpt-oss goes on after <|end|>") {
  const Vocab harmony = test::byte_vocab({}, {"<|end|>", "<|return|>", "<|call|>"});
  const auto tokenizer = make(harmony);
  CHECK_FALSE(tokenizer->is_end(256));
  CHECK(tokenizer->is_end(257));
  CHECK(tokenizer->is_end(258));
  CHECK(make(test::byte_vocab({}, {"<|end|>"}))->is_end(256));
}

TEST_CASE("special: BOS is asked for by the file, or as is usual for its kind") {
  Vocab vocab = test::byte_vocab({}, {"<s>", "</s>"});
  vocab.bos = 256;
  vocab.eos = 257;
  CHECK_FALSE(make(vocab)->add_bos());
  CHECK_FALSE(make(vocab)->add_eos());
  vocab.add_eos = true;
  CHECK(make(vocab)->add_eos());
  vocab.pre = "llama-bpe";
  CHECK(make(vocab)->add_bos());
  vocab.add_bos = false;
  CHECK_FALSE(make(vocab)->add_bos());
  vocab.add_bos = true;
  vocab.bos = -1;
  CHECK_FALSE(make(vocab)->add_bos());
}

TEST_CASE("detokenizer: whole characters only, and nothing is lost") {
  const auto tokenizer = make(test::byte_vocab({}, {"<s>"}));
  Detokenizer detokenizer(*tokenizer);
  const std::string text =
      "é€😀\xFF"
      "a\xE2\x82";
  std::vector<std::string> pushed;
  for (const TokenId id : encode(*tokenizer, text)) pushed.push_back(detokenizer.push(id));
  const std::string bad = "\uFFFD";
  CHECK(pushed ==
        std::vector<std::string>{"", "é", "", "", "€", "", "", "", "😀", bad, "a", "", ""});
  CHECK(detokenizer.finish() == bad);
  CHECK(detokenizer.finish().empty());
  CHECK(detokenizer.push(tokenizer->find("<s>")).empty());
  CHECK(detokenizer.push(-1).empty());
  CHECK(detokenizer.push(1 << 30).empty());
  CHECK(detokenizer.push('a') == "a");
}

TEST_CASE("detokenizer: joined, it is the decoded text") {
  test::Random random(12);
  const auto bytes = make(test::byte_vocab({"Ġ a", "Ã ©"}));
  const auto spm = make(test::spm_vocab({"▁", "▁a", "é", "漢"}, true));
  for (int i = 0; i < 100; ++i) {
    const std::string text = test::random_text(random, random.below(60));
    for (const Tokenizer* tokenizer : {bytes.get(), spm.get()}) {
      const std::vector<TokenId> ids = encode(*tokenizer, text);
      Detokenizer detokenizer(*tokenizer, true);
      std::string joined;
      for (const TokenId id : ids) joined += detokenizer.push(id);
      joined += detokenizer.finish();
      REQUIRE(joined == tokenizer->decode(ids));
    }
  }
}

TEST_CASE("detokenizer: the dummy space goes only where text starts") {
  const auto tokenizer = make(test::spm_vocab({"▁a"}, true));
  const TokenId a = tokenizer->find("▁a");
  Detokenizer goes_on(*tokenizer);
  CHECK(goes_on.push(a) == " a");
  CHECK(goes_on.push(a) == " a");
  Detokenizer starts(*tokenizer, true);
  CHECK(starts.push(tokenizer->bos()).empty());
  CHECK(starts.push(a) == "a");
  CHECK(starts.push(a) == " a");
}
