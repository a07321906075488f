#include <algorithm>
#include <map>

#include "engine/text/byte_alphabet.h"
#include "tests/text/text_support.h"

using namespace lm;
using test::cut;
using test::encode;

namespace {

// Byte-pair encoding of one word as it is written down, in quadratic time.
std::vector<std::string> naive(const std::string& word, const std::vector<std::string>& merges) {
  const ByteAlphabet alphabet;
  std::vector<std::string> symbols;
  for (const char c : word) symbols.push_back(alphabet.spell(std::string(1, c)));
  for (;;) {
    size_t best = merges.size(), where = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = std::find(merges.begin(), merges.end(), symbols[i] + " " + symbols[i + 1]);
      const auto rank = static_cast<size_t>(found - merges.begin());
      if (rank >= best) continue;
      best = rank;
      where = i;
    }
    if (best == merges.size()) return symbols;
    symbols[where] += symbols[where + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
}

}  // namespace

TEST_CASE("byte alphabet: printable bytes are themselves, the others follow from U+0100") {
  const ByteAlphabet alphabet;
  CHECK(alphabet.spell("a~!") == "a~!");
  CHECK(alphabet.spell(" ") == "Ġ");
  CHECK(alphabet.spell("\n") == "Ċ");
  CHECK(alphabet.spell(std::string(1, '\0')) == "Ā");
  CHECK(alphabet.spell("\xAD") == "Ń");  // the last of the 68
  for (int b = 0; b < 256; ++b) {
    const std::string byte(1, static_cast<char>(b));
    CHECK(alphabet.read(alphabet.spell(byte)) == byte);
  }
  CHECK_FALSE(alphabet.read("▁"));
  CHECK_FALSE(alphabet.read("ń"));  // one past the last
  CHECK_FALSE(alphabet.read("\xFF"));
}

TEST_CASE("bpe: merges by rank, not by length or position") {
  const auto tokenizer = test::require_ok(
      make_tokenizer(test::byte_vocab({"b c", "a b", "ab c", "h e", "l l", "he ll", "Ġ hell"})));
  CHECK(cut(*tokenizer, "abc") == "a|bc");
  CHECK(cut(*tokenizer, "ab") == "ab");
  CHECK(cut(*tokenizer, "abab") == "ab|ab");
  CHECK(cut(*tokenizer, "hello hello") == "hell|o|Ġhell|o");
  CHECK(cut(*tokenizer, "") == "");
}

TEST_CASE("bpe: agrees with the quadratic definition on random merges") {
  test::Random random(7);
  for (int round = 0; round < 60; ++round) {
    std::vector<std::string> symbols = {"a", "b", "c", "d"};
    std::vector<std::string> merges;
    while (merges.size() < 30) {
      const std::string left = symbols[random.below(symbols.size())];
      const std::string right = symbols[random.below(symbols.size())];
      if (left.size() + right.size() > 12) continue;
      if (std::find(merges.begin(), merges.end(), left + " " + right) != merges.end()) continue;
      merges.push_back(left + " " + right);
      symbols.push_back(left + right);
    }
    // Merges out of order: a result may have a lower rank than what it is made of.
    for (size_t i = merges.size(); i-- > 1;) std::swap(merges[i], merges[random.below(i + 1)]);
    const auto tokenizer = test::require_ok(make_tokenizer(test::byte_vocab(merges)));
    for (int n = 0; n < 20; ++n) {
      std::string word;
      for (uint64_t k = 1 + random.below(40); k > 0; --k) {
        word.push_back(static_cast<char>('a' + random.below(4)));
      }
      std::vector<std::string> spelled;
      for (const TokenId id : encode(*tokenizer, word)) spelled.emplace_back(tokenizer->text(id));
      CAPTURE(round);
      CAPTURE(word);
      REQUIRE(spelled == naive(word, merges));
    }
  }
}

TEST_CASE("bpe: every byte sequence comes back") {
  test::Random random(8);
  for (const char* pre : {"", "llama-bpe", "qwen2", "deepseek-llm", "deepseek-v3", "gpt-4o"}) {
    Vocab vocab = test::byte_vocab({"Ġ t", "h e", "Ġt he", "Ã ©", "Ċ Ċ", "i n"});
    vocab.pre = pre;
    const auto tokenizer = test::require_ok(make_tokenizer(std::move(vocab)));
    for (int i = 0; i < 60; ++i) {
      std::string text = test::random_bytes(random, random.below(100));
      text += test::random_text(random, random.below(100));
      text += test::random_bytes(random, random.below(4));
      REQUIRE(tokenizer->decode(encode(*tokenizer, text)) == text);
    }
  }
}

TEST_CASE("bpe: megabytes without a word break") {
  std::vector<std::string> merges;
  for (std::string run = "a"; run.size() < 64; run += run) merges.push_back(run + " " + run);
  const auto tokenizer = test::require_ok(make_tokenizer(test::byte_vocab(merges)));
  const std::string letters(1'000'000, 'a');
  const std::vector<TokenId> ids = encode(*tokenizer, letters);
  CHECK(ids.size() == 1'000'000 / 64);
  CHECK(tokenizer->decode(ids) == letters);
  for (const std::string unit : {" ", "\n", "漢", "😀", "\xFF", "x\xFF"}) {
    std::string text;
    while (text.size() < 1'000'000) text += unit;
    CHECK(tokenizer->decode(encode(*tokenizer, text)) == text);
  }
}

TEST_CASE("bpe: a word that is a token is taken whole only where the pre-tokenizer says so") {
  Vocab vocab = test::byte_vocab({"a b", "c d"}, {"endword"});
  vocab.tokens.push_back("abcd");
  vocab.types.push_back(TokenType::normal);
  vocab.pre = "llama-bpe";
  const auto whole = test::require_ok(make_tokenizer(vocab));
  CHECK(cut(*whole, "abcd") == "abcd");
  CHECK(cut(*whole, "abcdab") == "ab|cd|ab");
  CHECK(cut(*whole, "endword") == "e|n|d|w|o|r|d");  // a control token is never made from text
  vocab.pre = "qwen2";
  CHECK(cut(*test::require_ok(make_tokenizer(vocab)), "abcd") == "ab|cd");
}

TEST_CASE("bpe: a byte that the vocabulary lacks is unknown, or nothing") {
  Vocab vocab = test::byte_vocab({});
  vocab.tokens['q'] = "[was q]";
  vocab.tokens.emplace_back("<unk>");
  vocab.types.push_back(TokenType::unknown);
  CHECK(cut(*test::require_ok(make_tokenizer(vocab)), "aqb") == "a|b");
  vocab.unk = 256;
  CHECK(cut(*test::require_ok(make_tokenizer(vocab)), "aqb") == "a|<unk>|b");
}
