#include "tests/text/text_support.h"

#include <array>

#include "engine/core/utf8.h"
#include "engine/text/byte_alphabet.h"

namespace lm::test {

std::unique_ptr<Tokenizer> open_tokenizer(const std::filesystem::path& gguf) {
  return require_ok(Tokenizer::from_gguf(require_ok(gguf::File::open(gguf))));
}

std::vector<TokenId> encode(const Tokenizer& tokenizer, std::string_view text,
                            Tokenizer::Special special) {
  std::vector<TokenId> ids;
  tokenizer.encode(text, special, ids);
  return ids;
}

std::string cut(const Tokenizer& tokenizer, std::string_view text, Tokenizer::Special special) {
  std::string out;
  for (const TokenId id : encode(tokenizer, text, special)) {
    if (!out.empty()) out += '|';
    out += tokenizer.text(id);
  }
  return out;
}

Vocab byte_vocab(std::vector<std::string> merges, std::vector<std::string> control) {
  Vocab vocab;
  vocab.kind = Vocab::Kind::byte_bpe;
  const ByteAlphabet alphabet;
  for (int b = 0; b < 256; ++b) {
    vocab.tokens.push_back(alphabet.spell(std::string(1, static_cast<char>(b))));
  }
  for (const std::string& merge : merges) {
    std::string token = merge;
    token.erase(token.find(' ', 1), 1);
    vocab.tokens.push_back(token);
  }
  vocab.types.assign(vocab.tokens.size(), TokenType::normal);
  vocab.tokens.insert(vocab.tokens.end(), control.begin(), control.end());
  vocab.types.resize(vocab.tokens.size(), TokenType::control);
  vocab.merges = std::move(merges);
  return vocab;
}

Vocab spm_vocab(std::vector<std::string> pieces, bool with_bytes) {
  Vocab vocab;
  vocab.tokens = {"<unk>", "<s>", "</s>"};
  vocab.types = {TokenType::unknown, TokenType::control, TokenType::control};
  vocab.unk = 0;
  vocab.bos = 1;
  vocab.eos = 2;
  for (int b = 0; with_bytes && b < 256; ++b) {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    const auto high = static_cast<size_t>(b / 16), low = static_cast<size_t>(b % 16);
    vocab.tokens.push_back(std::string("<0x") + kHex[high] + kHex[low] + ">");
    vocab.types.push_back(TokenType::byte);
  }
  vocab.scores.assign(vocab.tokens.size(), 0.0f);
  for (const std::string& piece : pieces) {
    vocab.scores.push_back(-static_cast<float>(vocab.tokens.size()));
    vocab.tokens.push_back(piece);
    vocab.types.push_back(TokenType::normal);
  }
  return vocab;
}

std::string random_bytes(Random& random, size_t n) {
  std::string out;
  for (size_t i = 0; i < n; ++i) out.push_back(static_cast<char>(random.below(256)));
  return out;
}

std::string random_text(Random& random, size_t n_chars) {
  struct Range {
    char32_t first, last;
  };
  constexpr std::array<Range, 14> kRanges = {{{'a', 'z'},
                                              {'A', 'Z'},
                                              {'0', '9'},
                                              {' ', '/'},
                                              {' ', ' '},
                                              {'\t', '\r'},
                                              {0, 0x7F},
                                              {0xA0, 0x24F},
                                              {0x300, 0x36F},
                                              {0x370, 0x10FF},
                                              {0x2000, 0x2580},
                                              {0x3000, 0x9FFF},
                                              {0xE000, 0xFFFD},
                                              {0x1F300, 0x1FAFF}}};
  std::string out;
  for (size_t i = 0; i < n_chars;) {
    const Range range = kRanges[random.below(kRanges.size())];
    for (uint64_t run = 1 + random.below(5); run > 0 && i < n_chars; --run, ++i) {
      utf8::append(out,
                   static_cast<char32_t>(range.first + random.below(range.last - range.first + 1)));
    }
  }
  return out;
}

}  // namespace lm::test
