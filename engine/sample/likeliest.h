// engine/sample/likeliest.h — the tokens that a model finds likeliest, with their probabilities:
// what a client shows beside the token that was drawn.
#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include "engine/core/token.h"
#include "engine/sample/logit_row.h"

namespace lm {

struct TokenChance {
  TokenId token;
  float logprob;  // natural log of its probability under softmax of the logits
};

// The n likeliest tokens of logits [n_vocab], likeliest first, ties by the lower id. NaN and -inf
// count as impossible and are left out. Infinities and NaN are replaced, as sampling does it too.
void likeliest(std::span<float> logits, size_t n, std::vector<TokenChance>& out);
void likeliest(LogitRow logits, size_t n, std::vector<TokenChance>& out);

}  // namespace lm
