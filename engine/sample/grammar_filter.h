// engine/sample/grammar_filter.h — a grammar as a filter of tokens.
#pragma once
#include <memory>
#include <span>

#include "engine/grammar/matcher.h"
#include "engine/sample/token_filter.h"

namespace lm {

class GrammarFilter final : public TokenFilter {
 public:
  explicit GrammarFilter(grammar::Matcher matcher) : matcher_(std::move(matcher)) {}

  void apply(std::span<float> logits) override;
  void accept(TokenId token) override { matcher_.accept(token); }
  std::unique_ptr<TokenFilter> clone() const override;

 private:
  grammar::Matcher matcher_;
};

}  // namespace lm
