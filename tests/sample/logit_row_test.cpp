// Sampling from the largest logits of a row gives what sampling from all of them gives, and asks
// for all when it must.
#include "engine/sample/logit_row.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "engine/sample/likeliest.h"
#include "engine/sample/sampler.h"
#include "engine/sample/softmax.h"
#include "tests/support/support.h"

namespace lm {
namespace {

using test::Random;

constexpr int kVocab = 500, kTop = 32;

class Row final : public LogitSource {
 public:
  explicit Row(std::vector<float> logits) : logits_(std::move(logits)) {
    std::vector<TokenId> order(logits_.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](TokenId a, TokenId b) { return logits_[size_t(a)] > logits_[size_t(b)]; });
    order.resize(size_t(kTop));
    ids_ = order;
    for (const TokenId id : ids_) values_.push_back(logits_[size_t(id)]);
  }

  LogitRow row() {
    const TopLogits top = {.ids = ids_,
                           .values = values_,
                           .log_z = log_sum_exp_below(logits_, values_[0]),
                           .n_vocab = int64_t(logits_.size())};
    return LogitRow(top, *this, 0);
  }
  std::span<float> fetch(int) override {
    ++n_fetched;
    scratch_ = logits_;
    return scratch_;
  }
  std::vector<float> all() const { return logits_; }

  int n_fetched = 0;

 private:
  std::vector<float> logits_, values_, scratch_;
  std::vector<TokenId> ids_;
};

Row random_row(Random& random) {
  std::vector<float> logits(size_t(kVocab), 0);
  for (float& logit : logits) logit = random.normal() * 3;
  return Row(std::move(logits));
}

SamplingParams random_params(Random& random) {
  SamplingParams params;
  params.seed = random.next();
  params.temperature = random.below(4) == 0 ? 0 : random.uniform(0.2f, 2);
  params.top_k = int(random.below(40));
  if (random.below(3) == 0) params.repeat_penalty = random.uniform(0.8f, 1.5f);
  if (random.below(3) == 0) params.frequency_penalty = random.uniform(-0.5f, 1);
  if (random.below(4) == 0) params.dry_multiplier = 0.8f;
  if (random.below(4) == 0) params.typical_p = 0.9f;
  if (random.below(4) == 0) params.xtc_probability = 0.5f;
  if (random.below(5) == 0) params.mirostat = 2;
  if (random.below(3) == 0) {
    params.logit_bias.push_back({TokenId(random.below(kVocab)), random.uniform(-9, 3)});
  }
  return params;
}

TEST_CASE("the largest logits give the token that all of them give") {
  Random random(11);
  int n_from_top = 0;
  for (int round = 0; round < 2000; ++round) {
    const SamplingParams params = random_params(random);
    Sampler sampler(params), reference(params);
    std::vector<TokenId> history;
    for (int i = 0; i < 20; ++i) history.push_back(TokenId(random.below(kVocab)));
    for (int i = 0; i < 3; ++i) {
      Row row = random_row(random);
      if (i == 2) std::copy_n(history.begin(), 10, history.end() - 10);  // something to repeat
      const Sampled got = sampler.sample(row.row(), history);
      std::vector<float> all = row.all();
      const Sampled expected = reference.sample(all, history);
      REQUIRE(got.token == expected.token);
      REQUIRE(got.logprob == doctest::Approx(expected.logprob).epsilon(1e-5));
      sampler.accept(got.token);
      reference.accept(expected.token);
      n_from_top += row.n_fetched == 0 ? 1 : 0;
    }
  }
  CHECK(n_from_top > 2000);  // of 6000
}

TEST_CASE("all logits are fetched when the largest do not decide") {
  Random random(12);
  const auto fetches = [&](const SamplingParams& params, std::span<const TokenId> history) {
    Row row = random_row(random);
    Sampler(params).sample(row.row(), history);
    return row.n_fetched;
  };
  SamplingParams params;
  params.top_k = 10;
  CHECK(fetches(params, {}) == 0);
  params.top_k = kTop;  // the last of them may equal one that is not there
  CHECK(fetches(params, {}) == 1);
  params.top_k = kTop - 1;
  CHECK(fetches(params, {}) == 0);
  params.top_k = 0;
  CHECK(fetches(params, {}) == 1);
  params.temperature = 0;
  CHECK(fetches(params, {}) == 0);
  params.logit_bias = {{3, 1.0f}};
  CHECK(fetches(params, {}) == 1);

  // Penalties that push most of the largest below the others.
  SamplingParams harsh;
  harsh.top_k = 10;
  harsh.presence_penalty = 100;
  harsh.repeat_last_n = -1;
  Row row = random_row(random);
  std::vector<TokenId> history(row.row().top()->ids.begin(), row.row().top()->ids.end());
  Sampler sampler(harsh), reference(harsh);
  std::vector<float> all = row.all();
  CHECK(sampler.sample(row.row(), history).token == reference.sample(all, history).token);
  CHECK(row.n_fetched == 1);
}

TEST_CASE("a plain sampler says beforehand whether the largest logits decide") {
  Random random(14);
  int n_plain = 0, n_decided = 0;
  for (int round = 0; round < 3000; ++round) {
    const SamplingParams params = random_params(random);
    Sampler sampler(params);
    if (!sampler.is_plain()) continue;
    ++n_plain;
    std::vector<float> logits(size_t(kVocab), 0);
    const float grid = random.below(2) == 0 ? 2.0f : 0.25f;  // many are the same
    for (float& logit : logits) logit = std::round(random.normal() * 3 / grid) * grid;
    Row row(std::move(logits));
    const bool decided = sampler.decided_by(*row.row().top());
    REQUIRE(sampler.sample(row.row(), {}).token >= 0);
    REQUIRE((row.n_fetched == 0) == decided);
    n_decided += decided ? 1 : 0;
  }
  CHECK(n_decided > 20);
  CHECK(n_plain - n_decided > 20);
}

TEST_CASE("a sampler is plain when history and grammars have no say") {
  const auto plain_with = [](auto change) {
    SamplingParams params;
    change(params);
    return Sampler(params).is_plain();
  };
  CHECK(plain_with([](SamplingParams&) {}));
  CHECK(plain_with([](SamplingParams& p) { p.temperature = 0, p.top_k = 0; }));
  CHECK_FALSE(plain_with([](SamplingParams& p) { p.top_k = 0; }));
  CHECK_FALSE(plain_with([](SamplingParams& p) { p.typical_p = 0.9f; }));
  CHECK_FALSE(plain_with([](SamplingParams& p) { p.repeat_penalty = 1.1f; }));
  CHECK_FALSE(plain_with([](SamplingParams& p) { p.presence_penalty = 0.1f; }));
  CHECK_FALSE(plain_with([](SamplingParams& p) { p.frequency_penalty = 0.1f; }));
  CHECK_FALSE(plain_with([](SamplingParams& p) { p.dry_multiplier = 0.8f; }));
  CHECK_FALSE(plain_with([](SamplingParams& p) { p.xtc_probability = 0.5f; }));
  CHECK_FALSE(plain_with([](SamplingParams& p) { p.mirostat = 2; }));
  CHECK_FALSE(plain_with([](SamplingParams& p) { p.logit_bias = {{3, -1.0f}}; }));
  struct Everything final : TokenFilter {
    void apply(std::span<float>) override {}
    void accept(TokenId) override {}
    std::unique_ptr<TokenFilter> clone() const override { return std::make_unique<Everything>(); }
  };
  CHECK_FALSE(Sampler(SamplingParams(), std::make_unique<Everything>()).is_plain());
}

TEST_CASE("the likeliest tokens come from the largest logits") {
  Random random(13);
  Row row = random_row(random);
  std::vector<float> all = row.all();
  std::vector<TokenChance> got, expected;
  for (const size_t n : {size_t{0}, size_t{5}, size_t(kTop), size_t(kTop) + 1}) {
    likeliest(row.row(), n, got);
    likeliest(all, n, expected);
    REQUIRE(got.size() == expected.size());
    for (size_t i = 0; i < n; ++i) {
      CHECK(got[i].token == expected[i].token);
      CHECK(got[i].logprob == doctest::Approx(expected[i].logprob).epsilon(1e-5));
    }
  }
  CHECK(row.n_fetched == 1);
}

}  // namespace
}  // namespace lm
