// The likeliest tokens beside a sort of everything.
#include "engine/sample/likeliest.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/support.h"

namespace lm {
namespace {

std::vector<TokenChance> top(std::vector<float> logits, size_t n) {
  std::vector<TokenChance> out;
  likeliest(logits, n, out);
  return out;
}

TEST_CASE("likeliest: as a sort of all the probabilities says") {
  test::Random random(3);
  for (const size_t n_vocab : {1, 7, 1000}) {
    std::vector<float> logits(n_vocab);
    for (float& logit : logits) logit = std::round(random.normal() * 3);  // many ties
    double total = 0;
    for (const float logit : logits) total += std::exp(double(logit));
    std::vector<size_t> order(n_vocab);
    for (size_t i = 0; i < n_vocab; ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return logits[a] > logits[b]; });
    for (const size_t n : {size_t{0}, size_t{1}, size_t{5}, n_vocab + 3}) {
      const std::vector<TokenChance> found = top(logits, n);
      REQUIRE(found.size() == std::min(n, n_vocab));
      for (size_t i = 0; i < found.size(); ++i) {
        CHECK(size_t(found[i].token) == order[i]);
        CHECK(std::abs(double(found[i].logprob) - (double(logits[order[i]]) - std::log(total))) <
              1e-5);
      }
    }
  }
}

TEST_CASE("likeliest: what is no number is left out") {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  CHECK(top({kNan, -kInf}, 3).empty());
  const std::vector<TokenChance> found = top({kNan, 1, -kInf, kInf}, 3);
  REQUIRE(found.size() == 2);
  CHECK(found[0].token == 3);
  CHECK(found[0].logprob == 0);
  CHECK(found[1].token == 1);
}

}  // namespace
}  // namespace lm
