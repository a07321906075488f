// tests/sample/naive.h — every sampling stage again, slowly and from its definition, in double.
// Shares no code with engine/sample: a token is in the map or it is not.
#pragma once
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <span>
#include <vector>

#include "engine/core/token.h"
#include "tests/support/support.h"

namespace lm::test {

using Logits = std::map<TokenId, double>;  // what is left, in order of ids

inline Logits all_of(std::span<const float> logits) {
  Logits left;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isfinite(logits[i])) left[TokenId(i)] = double(logits[i]);
  }
  return left;
}

inline Logits softmax(const Logits& left, double temperature = 1) {
  double max = -INFINITY, sum = 0;
  for (const auto& [id, logit] : left) max = std::max(max, logit);
  Logits p;
  for (const auto& [id, logit] : left) sum += p[id] = std::exp((logit - max) / temperature);
  for (auto& [id, value] : p) value /= sum;
  return p;
}

// Ids by decreasing key; of equals the lower id first.
inline std::vector<TokenId> ranked(const Logits& key) {
  std::vector<TokenId> ids;
  for (const auto& [id, value] : key) ids.push_back(id);
  std::stable_sort(ids.begin(), ids.end(),
                   [&](TokenId a, TokenId b) { return key.at(a) > key.at(b); });
  return ids;
}

inline Logits only(const Logits& left, std::span<const TokenId> ids) {
  Logits kept;
  for (const TokenId id : ids) kept[id] = left.at(id);
  return kept;
}

inline Logits top_k(const Logits& left, int k) {
  std::vector<TokenId> ids = ranked(left);
  if (k > 0 && ids.size() > size_t(k)) ids.resize(size_t(k));
  return only(left, ids);
}

// The first ids whose probabilities sum to at least p.
inline Logits until_mass(const Logits& left, const std::vector<TokenId>& order, double p) {
  const Logits prob = softmax(left);
  double mass = 0;
  Logits kept;
  for (const TokenId id : order) {
    kept[id] = left.at(id);
    mass += prob.at(id);
    if (mass >= p) break;
  }
  return kept;
}

inline Logits top_p(const Logits& left, double p) {
  return until_mass(left, ranked(left), p);
}

inline Logits typical(const Logits& left, double p) {
  const Logits prob = softmax(left);
  double entropy = 0;
  for (const auto& [id, value] : prob) {
    if (value > 0) entropy -= value * std::log(value);
  }
  Logits closeness;
  for (const auto& [id, value] : prob) closeness[id] = -std::abs(-std::log(value) - entropy);
  return until_mass(left, ranked(closeness), p);
}

inline Logits min_p(const Logits& left, double p) {
  const Logits prob = softmax(left);
  double most = 0;
  for (const auto& [id, value] : prob) most = std::max(most, value);
  Logits kept;
  for (const auto& [id, value] : prob) {
    if (value >= p * most) kept[id] = left.at(id);
  }
  return kept;
}

inline Logits xtc(const Logits& left, double threshold) {
  const Logits prob = softmax(left);
  std::vector<TokenId> top;
  for (const TokenId id : ranked(left)) {
    if (prob.at(id) >= threshold) top.push_back(id);
  }
  Logits kept = left;
  for (size_t i = 0; i + 1 < top.size(); ++i) kept.erase(top[i]);
  return kept;
}

inline Logits surprise_below(const Logits& left, double mu, double temperature) {
  const Logits prob = softmax(left, temperature);
  const double most = left.at(ranked(left)[0]);
  Logits kept;
  for (const auto& [id, value] : prob) {
    if (-std::log2(value) <= mu || left.at(id) == most) kept[id] = left.at(id);
  }
  return kept;
}

// Logits as models make them: a few large ones above a broad mass.
inline std::vector<float> random_logits(Random& random, size_t n) {
  std::vector<float> logits(n);
  for (float& logit : logits) logit = 2 * random.normal();
  for (size_t i = 0; i < n / 20 + 1; ++i) logits[random.below(n)] += random.uniform(0, 8);
  return logits;
}

}  // namespace lm::test
