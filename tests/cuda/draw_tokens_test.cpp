// draw_tokens against the sampler that has the last word.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "engine/sample/sampler.h"
#include "tests/cpu/harness.h"
#include "tests/cuda/rig.h"

using namespace lm;
using namespace lm::test;

namespace {

struct Candidates {
  std::vector<int32_t> ids;
  std::vector<float> values;
};

Candidates random_candidates(int64_t rows, int64_t k, Random& random) {
  Candidates made;
  for (int64_t row = 0; row < rows; ++row) {
    std::vector<float> values(size_t(k), 0);
    for (float& value : values) value = random.normal() * (row % 3 == 0 ? 0.1f : 3.0f);
    if (row % 4 == 1 && k > 1) values.back() = -std::numeric_limits<float>::infinity();
    std::sort(values.begin(), values.end(), std::greater<float>());
    made.values.insert(made.values.end(), values.begin(), values.end());
    for (int64_t i = 0; i < k; ++i) made.ids.push_back(int32_t((i * 37 + row * 11) % 1009));
  }
  return made;
}

SamplingParams random_params(Random& random, int64_t k) {
  SamplingParams params;
  params.seed = random.next();
  params.temperature = random.below(5) == 0 ? 0 : 0.2f + 0.3f * float(random.below(7));
  params.top_k = params.temperature == 0 ? 1 : int(1 + random.below(uint64_t(k)));
  if (random.below(3) == 0) params.top_k = int(k);
  params.top_p = random.below(4) == 0 ? 1 : 0.1f * float(random.below(11));
  params.min_p = random.below(2) == 0 ? 0 : 0.02f * float(random.below(20));
  return params;
}

// How many tokens are others than the sampler's.
int n_different(Backend& backend, int64_t k) {
  constexpr int64_t kRows = 9, kDraws = 150;
  Random random(uint64_t(k) + 77);
  const Candidates candidates = random_candidates(kRows, k, random);
  std::vector<DrawRule> rules(size_t(kDraws), DrawRule{});
  std::vector<int32_t> expected;
  for (DrawRule& rule : rules) {
    const SamplingParams params = random_params(random, k);
    Sampler sampler(params);
    REQUIRE(sampler.is_plain());
    const std::vector<TokenId> history(1 + random.below(100), 1);
    rule = {.seed = params.seed,
            .position = sampler.position(history.size()),
            .row = int32_t(random.below(kRows)),
            .top_k = params.top_k,
            .temperature = params.temperature,
            .top_p = params.top_p,
            .min_p = params.min_p};
    std::vector<float> logits(1009, -std::numeric_limits<float>::infinity());
    for (int64_t i = 0; i < k; ++i) {
      const size_t at = size_t(rule.row * k + i);
      logits[size_t(candidates.ids[at])] = candidates.values[at];
    }
    expected.push_back(sampler.sample(logits, history).token);
  }
  std::vector<int32_t> words(rules.size() * size_t(kDrawRuleWords));
  std::memcpy(words.data(), rules.data(), words.size() * sizeof(int32_t));
  const Guarded ids(backend, {1, 1, kRows, k}, candidates.ids),
      values(backend, {1, 1, kRows, k}, candidates.values),
      rule_words(backend, {1, 1, kDraws, kDrawRuleWords}, words, true),
      tokens(backend, {1, 1, 1, kDraws}, DType::i32);
  backend.draw_tokens({.ids = ids, .values = values, .rules = rule_words, .tokens = tokens});
  REQUIRE(backend.synchronize().ok());
  CHECK(tokens.guards_intact());
  const std::vector<int32_t> drawn = tokens.ints();
  int different = 0;
  for (size_t i = 0; i < drawn.size(); ++i) different += drawn[i] == expected[i] ? 0 : 1;
  return different;
}

}  // namespace

// Where two candidates are as good as equal, or a truncation ends between such, a guess may be
// wrong.
TEST_CASE("a device guesses what the sampler draws") {
  LM_CUDA(backend);
  for_each_schedule([&] {
    for (const int64_t k : {1, 2, 40, 128}) CHECK(n_different(*backend, k) <= 1);
  });
}

TEST_CASE("a processor guesses what the sampler draws") {
  const std::unique_ptr<Backend> backend = open_cpu("scalar", 2);
  for (const int64_t k : {1, 2, 40, 128}) CHECK(n_different(*backend, k) <= 1);
}

TEST_CASE("landings and uploads: what was sent before, whatever is enqueued behind it") {
  LM_CUDA(backend);
  for_each_schedule([&] {
    REQUIRE(backend->reserve(test_limits()).ok());
    constexpr int kN = 1000;
    const Guarded x(*backend, {1, 1, 1, kN}, DType::i32, true);
    std::vector<std::unique_ptr<Landing>> landings;
    for (int i = 0; i < 2; ++i) {
      landings.push_back(require_ok(backend->make_landing(kN * sizeof(int32_t))));
    }
    for (int round = 0; round < 12; ++round) {  // more than the ring has places
      const std::vector<int32_t> numbers(kN, round);
      backend->upload(x, std::as_bytes(std::span(numbers)));
      landings[size_t(round % 2)]->send(std::array{x.tensor()});
      if (round == 0) continue;
      const std::span<const std::byte> arrived =
          require_ok(landings[size_t((round - 1) % 2)]->wait());
      std::vector<int32_t> got(kN);
      std::memcpy(got.data(), arrived.data(), arrived.size());
      CHECK(got == std::vector<int32_t>(kN, round - 1));
    }
  });
}
