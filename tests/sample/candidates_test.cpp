// Each truncation against its definition (naive.h), on random logits of many sizes.
#include "engine/sample/candidates.h"

#include <vector>

#include "tests/sample/naive.h"
#include "tests/support/support.h"

namespace lm {
namespace {

using test::Logits;

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<TokenId> ids_of(const Candidates& candidates) {
  std::vector<TokenId> ids;
  for (const Candidate& c : candidates.list()) ids.push_back(c.id);
  std::sort(ids.begin(), ids.end());
  return ids;
}

std::vector<TokenId> ids_of(const Logits& left) {
  std::vector<TokenId> ids;
  for (const auto& [id, logit] : left) ids.push_back(id);
  return ids;
}

TEST_CASE("top-k keeps the k largest; of equals, the lower ids") {
  test::Random random(101);
  Candidates candidates;
  for (const size_t n : {1, 2, 5, 63, 64, 65, 1000, 5000}) {
    for (const int k : {0, 1, 2, 40, 63, 64, 1000, 1024, 1025, 3000, 100000}) {
      std::vector<float> logits = test::random_logits(random, n);
      for (float& logit : logits) logit = std::round(logit * 4) / 4;  // many ties
      logits[random.below(n)] = -kInf;
      candidates.select(logits, k);
      CHECK(ids_of(candidates) == ids_of(test::top_k(test::all_of(logits), k)));
    }
  }
}

TEST_CASE("top-k of sorted logits, both ways") {
  std::vector<float> logits(3000);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = float(i);
  Candidates candidates;
  candidates.select(logits, 3);
  CHECK(ids_of(candidates) == std::vector<TokenId>{2997, 2998, 2999});
  std::reverse(logits.begin(), logits.end());
  candidates.select(logits, 3);
  CHECK(ids_of(candidates) == std::vector<TokenId>{0, 1, 2});
}

TEST_CASE("each truncation keeps what its definition keeps") {
  test::Random random(202);
  Candidates candidates;
  for (int round = 0; round < 400; ++round) {
    const size_t n = 1 + size_t(random.below(round % 10 == 0 ? 4000 : 300));
    const std::vector<float> logits = test::random_logits(random, n);
    const int k = random.below(2) == 0 ? 0 : int(1 + random.below(n));
    const Logits left = test::top_k(test::all_of(logits), k);
    const float p = random.uniform(0, 1);
    CAPTURE(round);

    candidates.select(logits, k);
    candidates.keep_top_p(p);
    CHECK(ids_of(candidates) == ids_of(test::top_p(left, double(p))));

    candidates.select(logits, k);
    candidates.keep_typical(p);
    CHECK(ids_of(candidates) == ids_of(test::typical(left, double(p))));

    candidates.select(logits, k);
    candidates.keep_min_p(p * 0.3f);
    CHECK(ids_of(candidates) == ids_of(test::min_p(left, double(p) * 0.3)));

    candidates.select(logits, k);
    candidates.exclude_top_choices(p * 0.3f);
    CHECK(ids_of(candidates) == ids_of(test::xtc(left, double(p) * 0.3)));

    candidates.select(logits, k);
    candidates.keep_surprise_below(10 * p, 0.7f);
    CHECK(ids_of(candidates) == ids_of(test::surprise_below(left, double(10 * p), 0.7)));
  }
}

TEST_CASE("stages in a row see what the ones before them left") {
  test::Random random(303);
  Candidates candidates;
  for (int round = 0; round < 200; ++round) {
    const std::vector<float> logits = test::random_logits(random, 500);
    candidates.select(logits, 200);
    candidates.keep_typical(0.97f);
    candidates.keep_top_p(0.9f);
    candidates.keep_min_p(0.02f);
    candidates.exclude_top_choices(0.15f);
    Logits left = test::top_k(test::all_of(logits), 200);
    left = test::min_p(test::top_p(test::typical(left, 0.97f), 0.9f), 0.02f);
    CHECK(ids_of(candidates) == ids_of(test::xtc(left, 0.15f)));
  }
}

TEST_CASE("the extremes keep one candidate") {
  const std::vector<float> logits = {1, 3, 2, 3};
  Candidates candidates;
  candidates.select(logits, 0);
  candidates.keep_top_p(0);
  CHECK(ids_of(candidates) == std::vector<TokenId>{1});
  candidates.select(logits, 0);
  candidates.keep_min_p(1);
  CHECK(ids_of(candidates) == std::vector<TokenId>{1, 3});
  candidates.select(logits, 0);
  candidates.keep_typical(0);
  CHECK(candidates.list().size() == 1);
  candidates.select(logits, 0);
  candidates.exclude_top_choices(0);
  CHECK(ids_of(candidates) == std::vector<TokenId>{0});
  candidates.select(logits, 0);
  candidates.exclude_top_choices(0.9f);  // nothing is that likely
  CHECK(candidates.list().size() == 4);
  candidates.select(logits, 0);
  candidates.keep_surprise_below(-1, 1);
  CHECK(ids_of(candidates) == std::vector<TokenId>{1, 3});
}

TEST_CASE("numbers at the edge of the format stay defined") {
  constexpr float kMax = std::numeric_limits<float>::max();
  for (const std::vector<float>& logits : std::vector<std::vector<float>>{
           {kMax, kMax, -kMax}, {-kMax, -kMax}, {-kInf, -kMax}, {0}, {1e-38f, -1e-38f}}) {
    for (const float temperature : {1e-38f, 1e-3f, 1.0f, kMax}) {
      Candidates candidates;
      candidates.select(logits, 0);
      candidates.keep_typical(0.5f);
      REQUIRE_FALSE(candidates.empty());
      candidates.keep_top_p(0.5f);
      REQUIRE_FALSE(candidates.empty());
      candidates.keep_min_p(0.5f);
      REQUIRE_FALSE(candidates.empty());
      candidates.exclude_top_choices(0.1f);
      REQUIRE_FALSE(candidates.empty());
      const TokenId token = candidates.draw(temperature, 1, 2);
      CHECK(token >= 0);
      CHECK(token < TokenId(logits.size()));
    }
  }
}

}  // namespace
}  // namespace lm
