// engine/sample/sampler.h — logits to one token. The token at a position is a pure function of
// (logits, history, parameters, seed, position), so that drafts can be checked and replayed.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/token.h"
#include "engine/sample/logit_row.h"
#include "engine/sample/token_filter.h"

namespace lm {

struct SamplingParams {
  float temperature = 0.8f;  // 0: the largest logit (ties: the lower id)
  int top_k = 40;            // 0: all
  float top_p = 0.95f;       // 1: off   arXiv:1904.09751
  float min_p = 0.05f;       // 0: off   arXiv:2407.01082
  float typical_p = 1;       // 1: off   arXiv:2202.00666
  int repeat_last_n = 64;    // tokens that the penalties look back; -1: all
  float repeat_penalty = 1;  // 1: off   arXiv:1909.05858
  float presence_penalty = 0, frequency_penalty = 0;
  float dry_multiplier = 0, dry_base = 1.75f;  // 0: off
  int dry_allowed_length = 2, dry_last_n = -1;
  std::vector<std::vector<TokenId>> dry_breakers;   // tokenised sequence breakers
  float xtc_probability = 0, xtc_threshold = 0.1f;  // 0: off
  int mirostat = 0;  // 2: mirostat 2 (arXiv:2007.14966) replaces the truncations, after temperature
  float mirostat_tau = 5, mirostat_eta = 0.1f;
  std::vector<std::pair<TokenId, float>> logit_bias;  // -inf forbids a token
  uint64_t seed = 0;
};

// bad_request with the parameter's name when one is out of its range (NaN included).
Status validate(const SamplingParams& params);

struct Sampled {
  TokenId token;  // -1: every token is forbidden, or no logit is a number
  float logprob;  // natural log of its probability under softmax of the unmodified logits
};

class Sampler {
 public:
  explicit Sampler(SamplingParams params, std::unique_ptr<TokenFilter> filter = nullptr);
  Sampler(const Sampler& other);  // an independent copy: a branch
  Sampler(Sampler&&) noexcept;
  Sampler& operator=(Sampler&&) noexcept;
  ~Sampler();

  // The token that follows `history` (prompt and answer so far); its position is history.size(),
  // and what was forgotten. logits [n_vocab >= 1] are scratch: they are modified. NaN counts as
  // -inf. Order: logit bias, penalties, DRY, grammar, top-k, typical, top-p, min-p, XTC,
  // temperature, draw (Gumbel-max, noise from a counter-based generator keyed by seed, position and
  // token id).
  Sampled sample(std::span<float> logits, std::span<const TokenId> history);
  // The same token, from the largest logits alone when they decide it.
  Sampled sample(LogitRow logits, std::span<const TokenId> history);
  // Makes `token` part of the state that stages keep (grammar, mirostat). Once per history token
  // generated, in order: sample, accept, sample, ... (mirostat learns only from its own draws).
  void accept(TokenId token);
  // The history will be n tokens shorter from now on: positions go on as if it were not, so that no
  // noise comes twice.
  void forget(int n);
  // Takes over the state of a sampler with the same parameters: a look-ahead that goes where
  // `other` may go, without the cost of a new copy.
  void resume_from(const Sampler& other);

  // Whether the next token depends on the largest logits, the position, and of the parameters on
  // the seed, the temperature, top-k, top-p and min-p alone: who has those can guess it.
  bool is_plain() const;
  // Of a plain one: whether these logits decide it, so that sample() asks for no others.
  bool decided_by(const TopLogits& top) const;
  // Of the token that follows a history of so many tokens.
  uint64_t position(size_t n_history) const;

  const SamplingParams& params() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lm
