#include "engine/tools/eval_stats.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "engine/core/check.h"
#include "engine/core/text.h"

namespace lm {
namespace {

struct Distribution {
  size_t top = 0;
  double log_sum = 0;  // log Σ exp(logit)
};

Distribution distribution_of(std::span<const float> logits) {
  Distribution d;
  d.top = size_t(std::ranges::max_element(logits) - logits.begin());
  const float largest = logits[d.top];
  double sum = 0;
  for (const float v : logits) sum += double(std::exp(v - largest));
  d.log_sum = double(largest) + std::log(sum);
  return d;
}

// Mean and its standard error of values(i), i in [0, n).
template <class Value>
Estimate mean_of(size_t n, const Value& value) {
  if (n == 0) return {};
  double sum = 0, squares = 0;
  for (size_t i = 0; i < n; ++i) {
    const double v = value(i);
    sum += v;
    squares += v * v;
  }
  const double mean = sum / double(n);
  const double variance = std::max(0.0, squares / double(n) - mean * mean);
  return {mean, n > 1 ? std::sqrt(variance / double(n - 1)) : 0};
}

// Of the two means: Σ(a - mean a)(b - mean b) / n / (n - 1).
double covariance_of_means(std::span<const TokenScore> scores, double mean, double base_mean) {
  if (scores.size() < 2) return 0;
  double sum = 0;
  for (const TokenScore& score : scores) sum += score.nll * score.base_nll;
  const auto n = double(scores.size());
  return (sum / n - mean * base_mean) / (n - 1);
}

// The value below which the share `p` of the sorted values lies, between two neighbours linearly.
double quantile(const std::vector<double>& sorted, double p) {
  const double at = p * double(sorted.size() - 1);
  const auto below = size_t(at);
  if (below + 1 >= sorted.size()) return sorted.back();
  const double share = at - double(below);
  return (1 - share) * sorted[below] + share * sorted[below + 1];
}

Quantiles quantiles_of(std::span<const TokenScore> scores) {
  std::vector<double> sorted;
  sorted.reserve(scores.size());
  for (const TokenScore& score : scores) sorted.push_back(score.kl);
  std::ranges::sort(sorted);
  const auto at = [&](double p) { return quantile(sorted, p); };
  return {.min = sorted.front(),
          .q01 = at(0.01),
          .q05 = at(0.05),
          .q10 = at(0.1),
          .median = at(0.5),
          .q90 = at(0.9),
          .q95 = at(0.95),
          .q99 = at(0.99),
          .q999 = at(0.999),
          .max = sorted.back()};
}

}  // namespace

TokenScore score_token(std::span<const float> logits, TokenId token) {
  LM_CHECK(token >= 0 && size_t(token) < logits.size());
  const double nll = distribution_of(logits).log_sum - double(logits[size_t(token)]);
  return {.nll = nll, .base_nll = nll};
}

TokenScore score_token(std::span<const float> logits, std::span<const float> base, TokenId token) {
  LM_CHECK(logits.size() == base.size() && token >= 0 && size_t(token) < base.size());
  const Distribution ours = distribution_of(logits), theirs = distribution_of(base);
  TokenScore score{.nll = ours.log_sum - double(logits[size_t(token)]),
                   .base_nll = theirs.log_sum - double(base[size_t(token)])};
  const auto log_sum = float(theirs.log_sum);
  const double shift = ours.log_sum - theirs.log_sum;
  double kl = 0;
  for (size_t i = 0; i < base.size(); ++i) {
    const double log_ratio = double(base[i]) - double(logits[i]) + shift;
    kl += double(std::exp(base[i] - log_sum)) * log_ratio;
  }
  score.kl = std::max(kl, 0.0);  // rounding may leave -1e-9 where the two are the same
  score.same_top = ours.top == theirs.top;
  return score;
}

Estimate perplexity_of(std::span<const TokenScore> scores) {
  const Estimate nll = mean_of(scores.size(), [&](size_t i) { return scores[i].nll; });
  const double perplexity = std::exp(nll.value);
  return {perplexity, perplexity * nll.error};
}

Comparison compare(std::span<const TokenScore> scores) {
  LM_CHECK(!scores.empty());
  const size_t n = scores.size();
  const Estimate nll = mean_of(n, [&](size_t i) { return scores[i].nll; });
  const Estimate base = mean_of(n, [&](size_t i) { return scores[i].base_nll; });
  const double covariance = covariance_of_means(scores, nll.value, base.value);
  const double ours = std::exp(nll.value), theirs = std::exp(base.value);

  Comparison c;
  c.base_perplexity = {theirs, theirs * base.error};
  c.log_ratio = mean_of(n, [&](size_t i) { return scores[i].nll - scores[i].base_nll; });
  const double ratio = std::exp(c.log_ratio.value);
  c.ratio = {ratio, ratio * c.log_ratio.error};
  // The errors of two means that vary together: Var(a - b) with a, b scaled by their perplexities.
  const double a = ours * nll.error, b = theirs * base.error;
  c.difference = {ours - theirs,
                  std::sqrt(std::max(0.0, a * a + b * b - 2 * ours * theirs * covariance))};
  const double spread = nll.error * base.error;
  c.correlation = spread > 0 ? covariance / spread : 1;
  c.kl = mean_of(n, [&](size_t i) { return scores[i].kl; });
  c.kl_quantiles = quantiles_of(scores);
  c.same_top = mean_of(n, [&](size_t i) { return scores[i].same_top ? 1.0 : 0.0; });
  const auto change = [&](size_t i) {
    return std::exp(-scores[i].nll) - std::exp(-scores[i].base_nll);
  };
  c.p_change = mean_of(n, change);
  const Estimate square = mean_of(n, [&](size_t i) { return change(i) * change(i); });
  const double rms = std::sqrt(square.value);
  c.p_change_rms = {rms, rms > 0 ? square.error / (2 * rms) : 0};
  return c;
}

std::string verdict(const Comparison& c) {
  // Divergences that Llama-3-8B has in formats that everybody knows (llama.cpp,
  // tools/perplexity/README.md): q8_0 0.0014, q6_K 0.0055, q4_K_M 0.031, q4_0 0.072, q3_K_M 0.13.
  struct Step {
    double below;
    const char* words;
  };
  constexpr Step kSteps[] = {
      {1e-4, "no difference that matters"},
      {0.003, "as good as the original"},
      {0.015, "very close to the original: a difference is hard to notice"},
      {0.05, "close to the original: good for everyday use"},
      {0.11, "a noticeable loss: a larger format or an importance matrix would help"},
      {0.35, "a clear loss: for when nothing larger fits"},
      {1e300, "badly damaged: not fit for use"}};
  const char* words = kSteps[0].words;
  for (const Step& step : kSteps) {
    words = step.words;
    if (c.kl.value < step.below) break;
  }
  const double change = 100 * (c.ratio.value - 1), error = 100 * c.ratio.error;
  const bool by_chance = std::fabs(change) <= 2 * error;
  char text[400];
  std::snprintf(
      text, sizeof text,
      "%s (KL divergence %.4f nats a token; the likeliest token is the same %.1f%% of the "
      "time; perplexity %+.2f%% ± %.2f%%%s)",
      words, c.kl.value, 100 * c.same_top.value, change, error,
      by_chance ? ", which may be chance" : "");
  return text;
}

}  // namespace lm
