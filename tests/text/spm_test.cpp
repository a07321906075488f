#include <algorithm>

#include "engine/core/utf8.h"
#include "tests/text/text_support.h"

using namespace lm;
using test::cut;
using test::encode;
using test::spm_vocab;

namespace {

std::unique_ptr<Tokenizer> make(Vocab vocab) {
  return test::require_ok(make_tokenizer(std::move(vocab)));
}

// The definition, in quadratic time: of all neighbours whose joint spelling is a piece, those with
// the highest score merge, from the left. `pieces` are in falling order of score.
std::string naive(const std::string& text, const std::vector<std::string>& pieces) {
  std::vector<std::string> symbols;
  for (size_t at = 0; at < text.size(); at += symbols.back().size()) {
    symbols.push_back(text.substr(at, static_cast<size_t>(utf8::decode(text.substr(at)).length)));
  }
  for (;;) {
    auto best = pieces.end();
    size_t where = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = std::find(pieces.begin(), best, symbols[i] + symbols[i + 1]);
      if (found == best) continue;
      best = found;
      where = i;
    }
    if (best == pieces.end()) break;
    symbols[where] += symbols[where + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
  std::string joined;
  for (const std::string& symbol : symbols) joined += (joined.empty() ? "" : "|") + symbol;
  return joined;
}

}  // namespace

TEST_CASE("spm: spaces, the prefix and merging by score") {
  const Vocab vocab = spm_vocab({"he", "ll", "hell", "▁hell", "o", "▁", "h", "e", "l"}, true);
  const auto tokenizer = make(vocab);
  CHECK(cut(*tokenizer, "hello") == "▁hell|o");
  CHECK(cut(*tokenizer, "hello hello") == "▁hell|o|▁hell|o");
  CHECK(cut(*tokenizer, " hello") == "▁|▁hell|o");
  CHECK(cut(*tokenizer, "") == "");
  CHECK(tokenizer->add_bos());
  CHECK_FALSE(tokenizer->add_eos());

  Vocab gemma = vocab;
  gemma.add_space_prefix = false;
  const auto plain = make(gemma);
  CHECK(cut(*plain, "hello hello") == "hell|o|▁hell|o");
  CHECK(plain->decode(encode(*plain, " hello")) == " hello");
}

TEST_CASE("spm: what is no token is spelled in bytes, or unknown") {
  const auto bytes = make(spm_vocab({"a", "▁", "é"}, true));
  CHECK(cut(*bytes, "aéß") == "▁|a|é|<0xC3>|<0x9F>");
  CHECK(cut(*bytes, "a\xC3z\xFF") == "▁|a|<0xC3>|<0x7A>|<0xFF>");
  CHECK(bytes->piece(bytes->find("<0x9F>")) == "\x9F");

  const auto unknown = make(spm_vocab({"a", "▁"}, false));
  CHECK(cut(*unknown,
            "aßß\xFF"
            "a ß") == "▁|a|<unk>|a|▁|<unk>");
  CHECK(unknown->decode(encode(*unknown, "aßa")) == "aa");

  Vocab no_unknown = spm_vocab({"a", "▁"}, false);
  no_unknown.unk = -1;
  CHECK(cut(*make(no_unknown), "aßa") == "▁|a|a");

  const auto no_space = make(spm_vocab({"a"}, true));  // "▁" itself is missing
  CHECK(cut(*no_space, "a a") == "<0x20>|a|<0x20>|a");
  CHECK(no_space->decode(encode(*no_space, " a ")) == " a ");
}

TEST_CASE("spm: agrees with the quadratic definition on random vocabularies") {
  test::Random random(9);
  const std::vector<std::string> letters = {"a", "b", "c", "▁", "é", "漢"};
  for (int round = 0; round < 60; ++round) {
    std::vector<std::string> pieces;
    while (pieces.size() < 40) {
      std::string piece;
      for (uint64_t n = 2 + random.below(4); n > 0; --n) piece += letters[random.below(6)];
      if (std::find(pieces.begin(), pieces.end(), piece) == pieces.end()) pieces.push_back(piece);
    }
    pieces.insert(pieces.end(), letters.begin(), letters.end());
    Vocab vocab = spm_vocab(pieces, true);
    vocab.add_space_prefix = false;
    const auto tokenizer = make(std::move(vocab));
    for (int n = 0; n < 20; ++n) {
      std::string text;
      for (uint64_t k = 1 + random.below(60); k > 0; --k) text += letters[random.below(6)];
      CAPTURE(round);
      CAPTURE(text);
      REQUIRE(cut(*tokenizer, text) == naive(text, pieces));
    }
  }
}

TEST_CASE("spm: bytes come back, but for U+2581") {
  test::Random random(10);
  const auto tokenizer =
      make(spm_vocab({"▁", "▁▁", "th", "e", "▁the", "é", "漢字", "in", "▁in"}, true));
  for (int i = 0; i < 300; ++i) {
    std::string text = test::random_bytes(random, random.below(40));
    text += test::random_text(random, random.below(100));
    if (text.find("▁") != std::string::npos) continue;
    CAPTURE(text);
    REQUIRE(tokenizer->decode(encode(*tokenizer, text)) == text);
  }
}

TEST_CASE("spm: megabytes without a break") {
  const auto tokenizer =
      make(spm_vocab({"aa", "aaaa", "aaaaaaaa", "▁▁", "▁▁▁▁", "a", "▁", "漢漢", "漢"}, true));
  for (const std::string unit : {"a", " ", "\n", "漢", "😀", "\xFF"}) {
    std::string text;
    while (text.size() < 1'000'000) text += unit;
    CHECK(tokenizer->decode(encode(*tokenizer, text)) == text);
  }
}

TEST_CASE("spm: merges, where there are some, decide over scores") {
  Vocab vocab = spm_vocab({"ab", "bc", "abc", "a", "b", "c"}, false);
  vocab.add_space_prefix = false;
  CHECK(cut(*make(vocab), "abc") == "abc");
  CHECK(cut(*make(vocab), "bcab") == "bc|ab");
  vocab.merges = {"b c", "a b"};
  CHECK(cut(*make(vocab), "abc") == "a|bc");
  vocab.scores.clear();
  CHECK(cut(*make(vocab), "abc") == "a|bc");
}

TEST_CASE("spm: text never becomes a control, unknown or byte token") {
  Vocab vocab = spm_vocab(
      {"</", "s>", "<s", "<", "/", "s", ">", "<0x", "0x", "41", "41>", "0", "x", "4", "1"}, true);
  vocab.add_space_prefix = false;
  const auto tokenizer = make(vocab);
  CHECK(cut(*tokenizer, "</s>") == "</|s>");
  CHECK(cut(*tokenizer, "<0x41>") == "<0x|41>");
  CHECK(cut(*tokenizer, "<s></s>", Tokenizer::Special::parse) == "<s>|</s>");
}

TEST_CASE("spm: the prefix space follows special tokens, and decoding drops it again") {
  Vocab vocab = spm_vocab({"▁", "a", "b", "▁a"}, true);
  vocab.tokens.emplace_back("<tool>");
  vocab.types.push_back(TokenType::user_defined);
  vocab.scores.push_back(0);
  const auto tokenizer = make(vocab);
  const auto parse = Tokenizer::Special::parse;
  CHECK(cut(*tokenizer, "<s>a</s>b", parse) == "<s>|▁a|</s>|▁|b");
  for (const std::string text : {"a<tool>b", " a<tool> b", "<tool>a", "<tool> a", "<tool><tool>"}) {
    CHECK(tokenizer->decode(encode(*tokenizer, text)) == text);
  }
  const std::vector<TokenId> ids = encode(*tokenizer, "a");
  CHECK(tokenizer->decode(ids, true) == "a");
  CHECK(tokenizer->decode(ids, false) == " a");
  CHECK(tokenizer->decode({tokenizer->bos(), ids[0]}, true) == "a");
}

TEST_CASE("spm: Phi-3's special tokens take the white space after them") {
  Vocab vocab = spm_vocab({"▁", "a", "\n"}, true);
  for (const char* name : {"<|user|>", "<|endoftext|>"}) {
    vocab.tokens.emplace_back(name);
    vocab.types.push_back(TokenType::control);
    vocab.scores.push_back(0);
  }
  vocab.special_eats_space = true;
  const auto tokenizer = make(vocab);
  const auto parse = Tokenizer::Special::parse;
  CHECK(cut(*tokenizer, "<|user|> \na", parse) == "<|user|>|▁|a");
  CHECK(cut(*tokenizer, "<|user|>\n", parse) == "<|user|>");
  CHECK(cut(*tokenizer, "<|endoftext|>\na", parse) == "<|endoftext|>|▁|\n|a");
}
