// Compiles any bytes as a grammar and follows a text that its own tokens make.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/check.h"
#include "engine/grammar/gbnf.h"
#include "engine/grammar/matcher.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lm::grammar;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parsed = parse_gbnf(text);
  if (!parsed.ok()) return 0;
  static const auto vocabulary = [] {
    std::vector<std::string> pieces;
    for (int byte = 0; byte < 256; ++byte) pieces.emplace_back(1, char(byte));
    for (const char* word : {"ab", "a\"", "{\"", "\":", "12", "\xC3\xA9", "  ", "aaaa"}) {
      pieces.emplace_back(word);
    }
    pieces.emplace_back();
    return std::make_shared<const Vocabulary>(pieces, std::vector<lm::TokenId>{264}, true);
  }();
  auto automaton = Automaton::compile(parsed.value());
  if (!automaton.ok()) return 0;
  const auto compiled = TokenGrammar::create(std::move(automaton).value(), vocabulary);
  Matcher matcher(compiled.value(), size % 2 == 0);
  for (size_t step = 0; step < 24; ++step) {
    const TokenSet& allowed = matcher.allowed();
    if (matcher.failed()) break;  // a limit was met
    std::vector<lm::TokenId> choices;
    for (lm::TokenId id = 0; id < 265; ++id) {
      if (allowed.contains(id)) choices.push_back(id);
    }
    LM_CHECK(!choices.empty());
    LM_CHECK(matcher.may_end() == allowed.contains(264));
    matcher.accept(choices[(step * 31 + data[step % size]) % choices.size()]);
  }
  return 0;
}
