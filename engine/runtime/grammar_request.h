// engine/runtime/grammar_request.h — a grammar or a JSON schema that an answer must follow, from
// its text to the filter of a request.
#pragma once
#include <memory>
#include <span>
#include <string_view>

#include "engine/core/result.h"
#include "engine/grammar/automaton.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/limits.h"
#include "engine/grammar/token_grammar.h"
#include "engine/grammar/vocabulary.h"
#include "engine/runtime/preamble.h"
#include "engine/sample/token_filter.h"
#include "engine/text/tokenizer.h"

namespace lm {

inline constexpr uint64_t kMaxGrammarBytes = grammar::kMaxTextBytes;

// What a grammar must know of a model; made once and shared by all requests.
// spelled: control tokens that count as their names (see Request::spelled).
std::shared_ptr<const grammar::Vocabulary> grammar_vocabulary(
    const Tokenizer& tokenizer, std::span<const TokenId> spelled = {});

// A grammar that was found good before any model is known: not empty, not too large.
class AnswerGrammar {
 public:
  static Result<AnswerGrammar> from_gbnf(std::string_view text);
  static Result<AnswerGrammar> from_json_schema(std::string_view text);

  // The same over a model's tokens, after a preamble: any number of requests share it. unsupported
  // when the vocabulary cannot spell any of its texts.
  Result<std::shared_ptr<const grammar::TokenGrammar>> bind(
      std::shared_ptr<const grammar::Vocabulary> vocabulary, const Preamble& preamble = {}) const;

 private:
  AnswerGrammar(grammar::Grammar rules, grammar::Automaton automaton);
  static Result<AnswerGrammar> compile(grammar::Grammar rules);

  grammar::Grammar rules_;
  grammar::Automaton automaton_;  // for vocabularies that spell every character
};

// For one request; `prompt` is what the answer follows.
std::unique_ptr<TokenFilter> make_grammar_filter(
    std::shared_ptr<const grammar::TokenGrammar> grammar, const Tokenizer& tokenizer,
    const std::vector<TokenId>& prompt);

}  // namespace lm
