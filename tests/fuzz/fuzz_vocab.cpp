// Builds a tokenizer from whatever vocabulary any bytes hold as GGUF metadata, and uses it: texts
// of the input itself and of the vocabulary's own spellings go to ids and back.
#include <algorithm>
#include <cstdint>
#include <span>
#include <string>

#include "engine/core/check.h"
#include "engine/core/utf8.h"
#include "engine/text/tokenizer.h"
#include "gguf/file.h"

namespace lm {
namespace {

constexpr size_t kMaxText = 2048;  // bytes

std::vector<TokenId> encode(const Tokenizer& tokenizer, std::string_view text,
                            Tokenizer::Special special) {
  std::vector<TokenId> ids;
  tokenizer.encode(text, special, ids);
  for (const TokenId id : ids) LM_CHECK(id >= 0 && id < tokenizer.size());
  return ids;
}

// Whether each single byte comes back: then every text must.
bool expresses_bytes(const Tokenizer& tokenizer) {
  for (int b = 0; b < 256; ++b) {
    const std::string byte(1, static_cast<char>(b));
    if (tokenizer.decode(encode(tokenizer, byte, Tokenizer::Special::as_text)) != byte)
      return false;
  }
  return true;
}

void check_text(const Tokenizer& tokenizer, std::string_view text, bool exact) {
  const std::vector<TokenId> ids = encode(tokenizer, text, Tokenizer::Special::as_text);
  const std::string decoded = tokenizer.decode(ids);
  if (exact && text.find("▁") == std::string_view::npos) LM_CHECK(decoded == text);
  Detokenizer detokenizer(tokenizer, true);
  std::string streamed;
  for (const TokenId id : ids) {
    LM_CHECK(tokenizer.type(id) != TokenType::control);
    const std::string ready = detokenizer.push(id);
    LM_CHECK(utf8::is_valid(ready));
    streamed += ready;
  }
  streamed += detokenizer.finish();
  LM_CHECK(streamed == utf8::sanitize(decoded));
  tokenizer.decode(encode(tokenizer, text, Tokenizer::Special::parse));
}

void use(const Tokenizer& tokenizer, std::string_view input) {
  LM_CHECK(tokenizer.size() > 0);
  const bool exact = expresses_bytes(tokenizer);
  std::string spellings;
  for (TokenId id = 0; id < tokenizer.size() && spellings.size() < kMaxText; ++id) {
    LM_CHECK(tokenizer.find(tokenizer.text(id)) >= 0);
    spellings += tokenizer.text(id).substr(0, 64);
    spellings += tokenizer.piece(id).substr(0, 64);
  }
  check_text(tokenizer, spellings, exact);
  check_text(tokenizer, input.substr(input.size() - std::min(input.size(), kMaxText)), exact);
  check_text(tokenizer, input.substr(0, 64), exact);
}

}  // namespace
}  // namespace lm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> input(reinterpret_cast<const std::byte*>(data), size);
  const auto file = lm::gguf::File::parse(input);
  if (!file.ok()) return 0;
  const auto tokenizer = lm::Tokenizer::from_gguf(file.value());
  if (!tokenizer.ok()) {
    LM_CHECK(!tokenizer.error().message.empty());
    return 0;
  }
  lm::use(*tokenizer.value(), {reinterpret_cast<const char*>(data), size});
  return 0;
}
