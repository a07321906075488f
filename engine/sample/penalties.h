// engine/sample/penalties.h — what the history does to the logits: repetition penalties and DRY.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "engine/core/token.h"
#include "engine/sample/sampler.h"

namespace lm {

// NaN becomes -inf and +inf the largest number: every later stage can count on it.
float bounded_logit(float logit);

class Penalties {
 public:
  // repeat_penalty (arXiv:1909.05858; negative logits are multiplied, so that it always lowers),
  // then frequency_penalty times the count and presence_penalty, over the last repeat_last_n.
  void apply_repetition(const SamplingParams& params, std::span<const TokenId> history,
                        std::span<float> logits);
  // DRY: a token that would continue a repetition of the last m tokens loses
  // multiplier · base^(m - allowed_length). (p-e-w, oobabooga/text-generation-webui pull request
  // 5677.) Repetitions don't reach back over a sequence breaker.
  void apply_dry(const SamplingParams& params, std::span<const TokenId> history,
                 std::span<float> logits);

 private:
  void remember_most(TokenId token, int value);  // values_[token] = max(values_[token], value)
  void find_repeats(std::span<const TokenId> tokens);

  std::vector<int> values_;       // per token id; 0 except for touched_
  std::vector<TokenId> touched_;  // in order of first use
  std::vector<int> match_;        // per position: see find_repeats
};

}  // namespace lm
