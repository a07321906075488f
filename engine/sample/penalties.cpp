#include "engine/sample/penalties.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lm {
namespace {

// The last n tokens, all for n < 0.
std::span<const TokenId> last(std::span<const TokenId> tokens, int n) {
  return n < 0 || size_t(n) >= tokens.size() ? tokens : tokens.last(size_t(n));
}

// How many tokens at the end belong to no sequence breaker.
size_t unbroken_length(std::span<const TokenId> tokens,
                       const std::vector<std::vector<TokenId>>& breakers) {
  for (size_t end = tokens.size(); end > 0; --end) {
    for (const std::vector<TokenId>& breaker : breakers) {
      if (breaker.empty() || breaker.size() > end) continue;
      const std::span<const TokenId> part = tokens.subspan(end - breaker.size(), breaker.size());
      if (std::equal(part.begin(), part.end(), breaker.begin())) return tokens.size() - end;
    }
  }
  return tokens.size();
}

bool is_breaker(TokenId token, const std::vector<std::vector<TokenId>>& breakers) {
  const auto is_token = [token](const std::vector<TokenId>& breaker) {
    return breaker.size() == 1 && breaker[0] == token;
  };
  return std::any_of(breakers.begin(), breakers.end(), is_token);
}

}  // namespace

float bounded_logit(float logit) {
  constexpr float kMax = std::numeric_limits<float>::max();
  if (std::isnan(logit)) return -std::numeric_limits<float>::infinity();
  return std::min(logit, kMax);
}

void Penalties::remember_most(TokenId token, int value) {
  int& current = values_[size_t(token)];
  if (current == 0) touched_.push_back(token);
  current = std::max(current, value);
}

void Penalties::apply_repetition(const SamplingParams& params, std::span<const TokenId> history,
                                 std::span<float> logits) {
  const bool off =
      params.repeat_penalty == 1 && params.presence_penalty == 0 && params.frequency_penalty == 0;
  if (off) return;
  values_.resize(logits.size());
  for (const TokenId token : last(history, params.repeat_last_n)) {
    if (token < 0 || size_t(token) >= logits.size()) continue;
    remember_most(token, values_[size_t(token)] + 1);
  }
  for (const TokenId token : touched_) {
    float logit = logits[size_t(token)];
    logit = logit > 0 ? logit / params.repeat_penalty : logit * params.repeat_penalty;
    logit -= params.frequency_penalty * float(values_[size_t(token)]) + params.presence_penalty;
    logits[size_t(token)] = bounded_logit(logit);
    values_[size_t(token)] = 0;
  }
  touched_.clear();
}

// match_[i] = how many tokens that end i before the last one equal the tokens that end with the
// last one: the Z function (Gusfield, "Algorithms on Strings, Trees and Sequences", 1.4) of the
// reversed text, in linear time.
void Penalties::find_repeats(std::span<const TokenId> tokens) {
  const size_t n = tokens.size();
  const auto reversed = [&](size_t i) { return tokens[n - 1 - i]; };
  match_.assign(n, 0);
  size_t left = 0, right = 0;  // reversed [left, right) equals its own beginning
  for (size_t i = 1; i < n; ++i) {
    size_t m = i < right ? std::min(right - i, size_t(match_[i - left])) : 0;
    while (i + m < n && reversed(m) == reversed(i + m)) ++m;
    match_[i] = int(m);
    if (i + m > right) left = i, right = i + m;
  }
}

void Penalties::apply_dry(const SamplingParams& params, std::span<const TokenId> history,
                          std::span<float> logits) {
  if (params.dry_multiplier == 0) return;
  const std::span<const TokenId> tokens = last(history, params.dry_last_n);
  const size_t limit = unbroken_length(tokens, params.dry_breakers);
  if (limit == 0) return;
  values_.resize(logits.size());
  find_repeats(tokens);
  const int shortest = std::max(1, params.dry_allowed_length);
  for (size_t i = 1; i < tokens.size(); ++i) {
    const int length = int(std::min(size_t(match_[i]), limit));
    const TokenId next = tokens[tokens.size() - i];  // what followed the earlier occurrence
    if (length < shortest || next < 0 || size_t(next) >= logits.size()) continue;
    if (!is_breaker(next, params.dry_breakers)) remember_most(next, length);
  }
  for (const TokenId token : touched_) {
    const int beyond = values_[size_t(token)] - params.dry_allowed_length;
    const float penalty = params.dry_multiplier * std::pow(params.dry_base, float(beyond));
    // Finite, so that a token is not forbidden: it may be the only one.
    constexpr float kMostPenalty = 1e30f;
    logits[size_t(token)] -= std::min(penalty, kMostPenalty);
    values_[size_t(token)] = 0;
  }
  touched_.clear();
}

}  // namespace lm
