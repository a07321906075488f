// engine/tools/eval_stats.h — what the scores of one model say about a text, and about another
// model: perplexity, Kullback-Leibler divergence, how often the likeliest token is the same. Means
// come with their standard error; changes are measured token by token (paired), so that what both
// models find hard does not count as noise. The definitions are those of llama.cpp's perplexity
// tool (tools/perplexity/README.md there), so that numbers can be set side by side.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/core/token.h"

namespace lm {

// One token of the text under one model, or under the model and its base.
struct TokenScore {
  double nll = 0, base_nll = 0;  // -log p(token), nats
  double kl = 0;                 // Σ p_base log(p_base / p) over the vocabulary, nats
  bool same_top = true;          // the likeliest token is the same
};

// `logits` [n_vocab] are the scores before `token`.
TokenScore score_token(std::span<const float> logits, TokenId token);
TokenScore score_token(std::span<const float> logits, std::span<const float> base, TokenId token);

struct Estimate {
  double value = 0, error = 0;  // the error is one standard deviation
};

// Of the divergences of all tokens.
struct Quantiles {
  double min, q01, q05, q10, median, q90, q95, q99, q999, max;
};

struct Comparison {
  Estimate base_perplexity;
  Estimate log_ratio;      // log(perplexity / base)
  Estimate ratio;          // perplexity / base
  Estimate difference;     // perplexity - base
  double correlation = 0;  // of the two models' log probabilities
  Estimate kl;
  Quantiles kl_quantiles{};
  Estimate same_top;
  Estimate p_change;  // of the probability of the text's own token
  Estimate p_change_rms;
};

Estimate perplexity_of(std::span<const TokenScore> scores);
Comparison compare(std::span<const TokenScore> scores);  // at least one

// One sentence for people: how near the model is to its base.
std::string verdict(const Comparison& comparison);

}  // namespace lm
