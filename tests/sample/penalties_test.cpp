// Repetition penalties and DRY against their definitions, by brute force.
#include "engine/sample/penalties.h"

#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "tests/support/support.h"

namespace lm {
namespace {

using Tokens = std::vector<TokenId>;

Tokens random_history(test::Random& random, size_t n, size_t n_vocab) {
  Tokens history;
  for (size_t i = 0; i < n; ++i) {
    const bool repeat = history.size() > 4 && random.below(3) == 0;
    if (repeat) {  // copy a stretch, so that there is something to find
      const size_t from = random.below(history.size() - 2);
      for (size_t j = 0; j < 3 + random.below(5); ++j) history.push_back(history[from + j]);
    }
    history.push_back(TokenId(random.below(n_vocab)));
  }
  return history;
}

TEST_CASE("repetition, frequency and presence penalties follow their formulas") {
  test::Random random(11);
  Penalties penalties;
  for (int round = 0; round < 200; ++round) {
    const size_t n_vocab = 1 + random.below(50);
    const Tokens history = random_history(random, random.below(60), n_vocab);
    SamplingParams params;
    params.repeat_last_n = int(random.below(100)) - 1;
    params.repeat_penalty = random.uniform(0.5f, 2);
    params.presence_penalty = random.uniform(-1, 1);
    params.frequency_penalty = random.uniform(-1, 1);
    std::vector<float> logits(n_vocab);
    for (float& logit : logits) logit = 3 * random.normal();
    const std::vector<float> before = logits;
    penalties.apply_repetition(params, history, logits);

    std::map<TokenId, int> counts;
    const size_t n = params.repeat_last_n < 0
                         ? history.size()
                         : std::min(history.size(), size_t(params.repeat_last_n));
    for (size_t i = history.size() - n; i < history.size(); ++i) ++counts[history[i]];
    for (size_t id = 0; id < n_vocab; ++id) {
      double expected = double(before[id]);
      if (const int count = counts[TokenId(id)]; count > 0) {
        expected = expected > 0 ? expected / double(params.repeat_penalty)
                                : expected * double(params.repeat_penalty);
        expected -= count * double(params.frequency_penalty) + double(params.presence_penalty);
      }
      CHECK(double(logits[id]) == doctest::Approx(expected).epsilon(1e-5));
    }
  }
}

// How many tokens before history[i] equal the end of the history, not reaching `floor`.
size_t match_length(const Tokens& history, size_t i, size_t floor) {
  const size_t n = history.size();
  size_t m = 0;
  while (m < i && n - m > floor && history[i - 1 - m] == history[n - 1 - m]) ++m;
  return m;
}

// The first position after the last sequence breaker.
size_t after_breakers(const Tokens& history, const std::vector<Tokens>& breakers) {
  size_t floor = 0;
  for (const Tokens& breaker : breakers) {
    for (size_t start = 0; start + breaker.size() <= history.size(); ++start) {
      const bool here =
          std::equal(breaker.begin(), breaker.end(), history.begin() + std::ptrdiff_t(start));
      if (here) floor = std::max(floor, start + breaker.size());
    }
  }
  return floor;
}

TEST_CASE("DRY penalises what would continue a repetition, as its definition says") {
  test::Random random(22);
  Penalties penalties;
  int penalised = 0;
  for (int round = 0; round < 300; ++round) {
    const size_t n_vocab = 3 + random.below(12);
    const Tokens history = random_history(random, 1 + random.below(60), n_vocab);
    SamplingParams params;
    params.dry_multiplier = 0.8f;
    params.dry_base = 1.5f;
    params.dry_allowed_length = int(random.below(4));
    params.dry_last_n = random.below(2) == 0 ? -1 : int(random.below(40));
    if (random.below(2) == 0) params.dry_breakers = {{0}, {1, 2}};
    std::vector<float> logits(n_vocab, 1.0f);
    penalties.apply_dry(params, history, logits);

    const size_t n = params.dry_last_n < 0 ? history.size()
                                           : std::min(history.size(), size_t(params.dry_last_n));
    const Tokens window(history.end() - std::ptrdiff_t(n), history.end());
    const size_t floor = after_breakers(window, params.dry_breakers);
    std::map<TokenId, size_t> longest;
    for (size_t i = 1; i < window.size();
         ++i) {  // window[i] followed an occurrence that ended at i
      const size_t m = match_length(window, i, floor);
      const bool breaks = !params.dry_breakers.empty() && window[i] == 0;
      if (m > 0 && !breaks) longest[window[i]] = std::max(longest[window[i]], m);
    }
    for (size_t id = 0; id < n_vocab; ++id) {
      double expected = 1;
      const auto found = longest.find(TokenId(id));
      if (found != longest.end() && int(found->second) >= params.dry_allowed_length) {
        expected -= 0.8 * std::pow(1.5, double(found->second) - params.dry_allowed_length);
        ++penalised;
      }
      CHECK(double(logits[id]) == doctest::Approx(expected).epsilon(1e-4));
    }
  }
  CHECK(penalised > 200);  // the histories do repeat
}

TEST_CASE("DRY by hand: 1 2 3 4 1 2 3 expects 4 least") {
  SamplingParams params;
  params.dry_multiplier = 1;
  params.dry_base = 2;
  params.dry_allowed_length = 2;
  std::vector<float> logits(6, 0.0f);
  Penalties().apply_dry(params, Tokens{1, 2, 3, 4, 1, 2, 3}, logits);
  CHECK(logits == std::vector<float>{0, 0, 0, 0, -2, 0});  // three tokens match: 1 · 2^(3 - 2)
  params.dry_breakers = {{2}};
  Penalties().apply_dry(params, Tokens{1, 2, 3, 4, 1, 2, 3}, logits);
  CHECK(logits[4] == -2);  // only "3" is left after the breaker: too short
}

TEST_CASE("a text of one token has a finite penalty, found in linear time") {
  SamplingParams params;
  params.dry_multiplier = 1;
  const Tokens history(200000, 0);
  std::vector<float> logits(1, 0.0f);
  Penalties().apply_dry(params, history, logits);
  CHECK(std::isfinite(logits[0]));
  CHECK(logits[0] < -1e20f);
}

TEST_CASE("ids outside the vocabulary, and logits at the edge, are harmless") {
  constexpr float kMax = std::numeric_limits<float>::max();
  SamplingParams params;
  params.repeat_penalty = 1e-30f;
  params.frequency_penalty = -kMax;
  params.dry_multiplier = kMax;
  params.dry_base = kMax;
  std::vector<float> logits = {kMax, -kMax, -std::numeric_limits<float>::infinity()};
  const Tokens history = {-1, 0, 1, 2, 3, 1 << 30, 0, 1, 2, 3, -7, 0, 1, 2};
  Penalties penalties;
  penalties.apply_repetition(params, history, logits);
  penalties.apply_dry(params, history, logits);
  for (const float logit : logits) CHECK(logit <= kMax);
}

TEST_CASE("no history, no penalty") {
  SamplingParams params;
  params.repeat_penalty = 2;
  params.dry_multiplier = 1;
  std::vector<float> logits = {1, -1};
  Penalties penalties;
  penalties.apply_repetition(params, {}, logits);
  penalties.apply_dry(params, {}, logits);
  CHECK(logits == std::vector<float>{1, -1});
}

}  // namespace
}  // namespace lm
