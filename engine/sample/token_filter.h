// engine/sample/token_filter.h — which tokens a grammar allows next, as the sampler sees it. A
// filter only ever moves forward: a draft is checked one position after the other, and what is
// rejected was never accepted here. Who looks ahead does it with a clone and throws that away.
#pragma once
#include <memory>
#include <span>

#include "engine/core/token.h"

namespace lm {

class TokenFilter {
 public:
  virtual ~TokenFilter() = default;
  // Sets the logits of forbidden tokens to -inf. Changes nothing that a later call could see.
  virtual void apply(std::span<float> logits) = 0;
  // Makes `token` part of the text; it was allowed.
  virtual void accept(TokenId token) = 0;
  // An independent filter in the same state. Called once for each draft of a draft model: it shares
  // what never changes (the compiled grammar, caches by state) and copies only the state.
  virtual std::unique_ptr<TokenFilter> clone() const = 0;
};

}  // namespace lm
