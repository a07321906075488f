// engine/grammar/matcher.h — follows one text through a grammar, token by token. A copy costs two
// words and goes its own way; copies share what they learn, so all of them belong to one thread.
#pragma once
#include <cstdint>
#include <memory>

#include "engine/core/token.h"
#include "engine/grammar/config_table.h"
#include "engine/grammar/token_grammar.h"

namespace lm::grammar {

class Matcher {
 public:
  // at_start: the text starts with the next token (see Vocabulary::drops_first_space).
  explicit Matcher(std::shared_ptr<const TokenGrammar> grammar, bool at_start = false);

  // The tokens that may come next: empty only after failed(). Until the text can end none of the
  // end tokens are among them, afterwards all are. Valid until any copy is asked again.
  const TokenSet& allowed();
  // Takes a token that is allowed; any other makes it fail.
  void accept(TokenId token);

  bool may_end() const;  // the text so far is whole
  bool failed() const { return phase_ == Phase::failed; }

 private:
  enum class Phase : uint8_t { start, inside, ended, failed };
  struct Memory;

  void renew_memory();
  TokenSet compute() const;
  void add_first_tokens(TokenSetBuilder& tokens) const;
  void add_tokens(TokenSetBuilder& tokens) const;
  void add_local(const TokenGrammar::Local& local, StackId stack, TokenSetBuilder& tokens) const;

  std::shared_ptr<const TokenGrammar> grammar_;
  std::shared_ptr<Memory> memory_;
  ConfigId config_;
  Phase phase_;
};

}  // namespace lm::grammar
