#include "engine/runtime/grammar_request.h"

#include <string>
#include <utility>
#include <vector>

#include "engine/grammar/gbnf.h"
#include "engine/grammar/json_schema.h"
#include "engine/sample/grammar_filter.h"

namespace lm {
namespace {

// What a token adds to a text; "" for those that are no part of one. After a user-defined token a
// vocabulary with space prefixes drops a space: which text follows would depend on the token
// before.
std::string text_of(const Tokenizer& tokenizer, TokenId id) {
  switch (tokenizer.type(id)) {
    case TokenType::normal:
    case TokenType::undefined:
    case TokenType::byte:
      break;
    case TokenType::user_defined:
      if (tokenizer.has_space_prefix()) return {};
      break;
    case TokenType::unknown:
    case TokenType::control:
    case TokenType::unused:
      return {};
  }
  return tokenizer.is_end(id) ? std::string() : std::string(tokenizer.piece(id));
}

}  // namespace

std::shared_ptr<const grammar::Vocabulary> grammar_vocabulary(const Tokenizer& tokenizer,
                                                              std::span<const TokenId> spelled) {
  std::vector<std::string> pieces;
  std::vector<TokenId> ends;
  for (TokenId id = 0; id < tokenizer.size(); ++id) {
    pieces.push_back(text_of(tokenizer, id));
    if (tokenizer.is_end(id)) ends.push_back(id);
  }
  for (const TokenId id : spelled) pieces[size_t(id)] = tokenizer.text(id);
  return std::make_shared<grammar::Vocabulary>(std::move(pieces), std::move(ends),
                                               tokenizer.has_space_prefix());
}

AnswerGrammar::AnswerGrammar(grammar::Grammar rules, grammar::Automaton automaton)
    : rules_(std::move(rules)), automaton_(std::move(automaton)) {}

Result<AnswerGrammar> AnswerGrammar::compile(grammar::Grammar rules) {
  grammar::Automaton automaton = LM_TRY(grammar::Automaton::compile(rules));
  return AnswerGrammar(std::move(rules), std::move(automaton));
}

Result<AnswerGrammar> AnswerGrammar::from_gbnf(std::string_view text) {
  return compile(LM_TRY(grammar::parse_gbnf(text)));
}
Result<AnswerGrammar> AnswerGrammar::from_json_schema(std::string_view text) {
  return compile(LM_TRY(grammar::parse_json_schema(text)));
}

Result<std::shared_ptr<const grammar::TokenGrammar>> AnswerGrammar::bind(
    std::shared_ptr<const grammar::Vocabulary> vocabulary, const Preamble& preamble) const {
  const grammar::CharSet& spellable = vocabulary->trie().spellable();
  if (!preamble.empty()) {
    grammar::Grammar whole = rules_;
    begin_with(whole, preamble);
    return grammar::TokenGrammar::create(LM_TRY(grammar::Automaton::compile(whole, spellable)),
                                         std::move(vocabulary));
  }
  const bool everything = spellable.ranges() == grammar::CharSet::all().ranges();
  grammar::Automaton automaton =
      everything ? automaton_ : LM_TRY(grammar::Automaton::compile(rules_, spellable));
  return grammar::TokenGrammar::create(std::move(automaton), std::move(vocabulary));
}

std::unique_ptr<TokenFilter> make_grammar_filter(
    std::shared_ptr<const grammar::TokenGrammar> grammar, const Tokenizer& tokenizer,
    const std::vector<TokenId>& prompt) {
  const bool at_start = !prompt.empty() && prompt.back() == tokenizer.bos();
  return std::make_unique<GrammarFilter>(grammar::Matcher(std::move(grammar), at_start));
}

}  // namespace lm
