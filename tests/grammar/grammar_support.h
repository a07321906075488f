// tests/grammar/grammar_support.h — grammars and vocabularies for tests, and following a text.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/grammar/automaton.h"
#include "engine/grammar/config_table.h"
#include "engine/grammar/gbnf.h"
#include "engine/grammar/matcher.h"
#include "engine/grammar/token_grammar.h"
#include "tests/support/support.h"

namespace lm::test {

inline grammar::Automaton compile(std::string_view gbnf) {
  return require_ok(grammar::Automaton::compile(require_ok(grammar::parse_gbnf(gbnf))));
}

// The message of what must fail, at reading or at compiling.
inline std::string error_of(std::string_view gbnf) {
  const Result<grammar::Grammar> parsed = grammar::parse_gbnf(gbnf);
  if (!parsed.ok()) return parsed.error().message;
  const Result<grammar::Automaton> compiled = grammar::Automaton::compile(parsed.value());
  return compiled.ok() ? "" : compiled.error().message;
}

// Follows bytes through an automaton.
class Follower {
 public:
  explicit Follower(grammar::Automaton automaton)
      : automaton_(std::move(automaton)),
        table_(automaton_),
        start_(table_.enter({automaton_.start(), grammar::ConfigTable::kBottom})) {}

  bool matches(std::string_view text) { return table_.ends(after(text)); }
  bool begins(std::string_view text) { return after(text) != grammar::ConfigTable::kDead; }

 private:
  grammar::ConfigId after(std::string_view text) {
    grammar::ConfigId config = start_;
    for (const char byte : text) config = table_.step(config, uint8_t(byte));
    return config;
  }

  grammar::Automaton automaton_;
  grammar::ConfigTable table_;
  grammar::ConfigId start_;
};

// Every byte, then `words`; the last token ends a text.
inline std::shared_ptr<const grammar::Vocabulary> byte_vocabulary(
    const std::vector<std::string>& words, bool drops_first_space = false) {
  std::vector<std::string> pieces;
  for (int byte = 0; byte < 256; ++byte) pieces.emplace_back(1, char(byte));
  pieces.insert(pieces.end(), words.begin(), words.end());
  pieces.emplace_back();
  const auto end = TokenId(pieces.size() - 1);
  return std::make_shared<grammar::Vocabulary>(std::move(pieces), std::vector<TokenId>{end},
                                               drops_first_space);
}

inline std::shared_ptr<const grammar::TokenGrammar> over(
    grammar::Automaton automaton, std::shared_ptr<const grammar::Vocabulary> vocabulary) {
  return require_ok(grammar::TokenGrammar::create(std::move(automaton), std::move(vocabulary)));
}

}  // namespace lm::test
