// engine/sample/candidates.h — the tokens that may still be drawn, and the stages that make them
// fewer. Probabilities of a stage are the softmax over what the stages before it left. Nothing is
// sorted beyond what a stage needs; ties are broken by the lower id everywhere.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/core/token.h"

namespace lm {

struct Candidate {
  float logit;  // finite
  TokenId id;
};

class Candidates {
 public:
  // The tokens whose logit is above -inf; of these the top_k largest when top_k > 0. Logits are
  // below +inf and not NaN.
  void select(std::span<const float> logits, int top_k);

  // The same of the tokens `ids` only (-1: none), whose logits are at logits[id].
  void select(std::span<const TokenId> ids, std::span<const float> logits, int top_k);

  bool empty() const { return list_.empty(); }
  std::span<const Candidate> list() const { return list_; }

  // Each of these keeps at least one candidate.
  void keep_typical(float p);    // locally typical sampling, arXiv:2202.00666
  void keep_top_p(float p);      // nucleus sampling, arXiv:1904.09751
  void keep_min_p(float min_p);  // arXiv:2407.01082
  // Removes all that have a probability of at least `threshold` except the least likely of them.
  // (XTC, oobabooga/text-generation-webui pull request 6335)
  void exclude_top_choices(float threshold);
  // Removes what has a surprise of more than mu bits at this temperature (arXiv:2007.14966).
  void keep_surprise_below(float mu, float temperature);

  TokenId most_likely() const;
  // Gumbel-max, argmax over tokens of logit/T + g with g = -log(E), E ~ Exp(1), in the form
  // argmin E / exp(logit/T): noise is a function of (seed, position, token id).
  TokenId draw(float temperature, uint64_t seed, uint64_t position) const;
  // -log2 of a candidate's probability.
  float surprise(TokenId id, float temperature) const;

 private:
  void keep_largest(size_t k);
  void select_with_heap(std::span<const float> logits, size_t k);
  float max_logit() const;
  double total_weight(float max, float temperature) const;
  template <class Distance>
  void keep_mass(double p, Distance distance);

  std::vector<Candidate> list_;  // in no particular order
};

}  // namespace lm
