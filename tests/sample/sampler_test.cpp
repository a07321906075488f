// The whole sampler: order of stages, purity, distributions, and inputs that are not numbers.
#include "engine/sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/core/philox.h"
#include "tests/sample/naive.h"
#include "tests/support/support.h"

namespace lm {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

using Tokens = std::vector<TokenId>;

SamplingParams plain(float temperature, uint64_t seed = 0) {
  SamplingParams params;
  params.temperature = temperature;
  params.top_k = 0;
  params.top_p = 1;
  params.min_p = 0;
  params.seed = seed;
  return params;
}

Sampled sample(Sampler& sampler, std::vector<float> logits, const Tokens& history) {
  return sampler.sample(logits, history);
}

// How often each token is drawn over `draws` positions.
std::vector<int> histogram(const SamplingParams& params, const std::vector<float>& logits,
                           int draws) {
  Sampler sampler(params);
  std::vector<int> counts(logits.size(), 0);
  Tokens history;
  for (int i = 0; i < draws; ++i) {
    ++counts[size_t(sample(sampler, logits, history).token)];
    history.push_back(0);
  }
  return counts;
}

double chi_square(const std::vector<int>& counts, const test::Logits& expected, int draws) {
  double chi2 = 0;
  for (const auto& [id, p] : expected) {
    chi2 += std::pow(counts[size_t(id)] - p * draws, 2) / (p * draws);
  }
  return chi2;
}

TEST_CASE("temperature 0 takes the largest logit, of equals the lower id") {
  Sampler sampler(plain(0));
  CHECK(sample(sampler, {1, 5, 2, 5}, {}).token == 1);
  CHECK(sample(sampler, {1, 5, 2, 5}, {0, 1, 2}).token == 1);
  Sampler standard{[] {
    SamplingParams params;
    params.temperature = 0;
    return params;
  }()};
  CHECK(sample(standard, {1, 5, 2, 5}, {}).token == 1);
}

TEST_CASE("Gumbel-max draws from the softmax") {
  const std::vector<float> logits = {0, 1, 2, -1, 0.5f, 1.5f, -2, 0.1f};
  constexpr int kDraws = 40000;
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    for (const uint64_t seed : {1u, 2u, 3u}) {
      const std::vector<int> counts = histogram(plain(temperature, seed), logits, kDraws);
      const test::Logits p = test::softmax(test::all_of(logits), double(temperature));
      CHECK(chi_square(counts, p, kDraws) < 24.3);  // 7 degrees of freedom, p = 0.001
    }
  }
}

TEST_CASE("truncated draws follow the renormalised softmax of what is left") {
  test::Random random(5);
  const std::vector<float> logits = test::random_logits(random, 60);
  SamplingParams params = plain(1.3f, 9);
  params.top_k = 12;
  params.top_p = 0.9f;
  params.min_p = 0.02f;
  constexpr int kDraws = 40000;
  const std::vector<int> counts = histogram(params, logits, kDraws);
  const test::Logits left =
      test::min_p(test::top_p(test::top_k(test::all_of(logits), 12), 0.9f), 0.02f);
  for (size_t id = 0; id < counts.size(); ++id) {
    if (!left.contains(TokenId(id))) CHECK(counts[id] == 0);
  }
  REQUIRE(left.size() > 2);
  REQUIRE(left.size() <= 12);
  CHECK(chi_square(counts, test::softmax(left, double(1.3f)), kDraws) < 31.3);  // 11 dof, p = 0.001
}

TEST_CASE("the token is a function of logits, history length and seed alone") {
  test::Random random(6);
  Sampler used(plain(1, 77));
  for (int i = 0; i < 50; ++i) sample(used, test::random_logits(random, 300), Tokens(size_t(i)));
  int differs_by_position = 0, differs_by_seed = 0;
  for (int i = 0; i < 50; ++i) {
    const std::vector<float> logits = test::random_logits(random, 300);
    const Tokens history(size_t(i), 1);
    Sampler fresh(plain(1, 77)), other_seed(plain(1, 78));
    const Sampled expected = sample(fresh, logits, history);
    const Sampled again = sample(used, logits, history);
    CHECK(again.token == expected.token);
    CHECK(again.logprob == expected.logprob);
    Tokens longer = history;
    longer.push_back(1);
    differs_by_position += sample(fresh, logits, longer).token != expected.token;
    differs_by_seed += sample(other_seed, logits, history).token != expected.token;
  }
  CHECK(differs_by_position > 20);
  CHECK(differs_by_seed > 20);
}

TEST_CASE("forbidding tokens that were not drawn does not change the draw") {
  // The noise of a token belongs to the token: what makes drafts of another model agree.
  test::Random random(7);
  for (int i = 0; i < 100; ++i) {
    std::vector<float> logits = test::random_logits(random, 100);
    Sampler sampler(plain(1, 5));
    const Tokens history(size_t(i), 0);
    const TokenId token = sample(sampler, logits, history).token;
    for (size_t id = 0; id < logits.size(); ++id) {
      if (TokenId(id) != token && random.below(2) == 0) logits[id] = -kInf;
    }
    CHECK(sample(sampler, logits, history).token == token);
  }
}

TEST_CASE("the draw is the argmax of logit / T plus Gumbel noise") {
  test::Random random(17);
  for (int i = 0; i < 200; ++i) {
    const std::vector<float> logits = test::random_logits(random, 1 + random.below(500));
    const uint64_t seed = random.next();
    const Tokens history(random.below(50), 0);
    TokenId best = -1;
    double best_score = -INFINITY;
    for (size_t id = 0; id < logits.size(); ++id) {
      const double u = uniform_noise(seed, NoiseStream::token, history.size(), uint32_t(id));
      const double score = double(logits[id]) / double(0.8f) - std::log(-std::log1p(-u));
      if (score > best_score) best_score = score, best = TokenId(id);
    }
    Sampler sampler(plain(0.8f, seed));
    CHECK(sample(sampler, logits, history).token == best);
  }
}

TEST_CASE("the draws of a fixed seed stay what they are") {
  // Golden values: a change here changes every seeded output of the program.
  std::vector<float> logits(1000);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = float((i * 37) % 101) * 0.05f;
  Sampler sampler(plain(1, 42));
  Tokens drawn, history;
  for (int i = 0; i < 8; ++i) {
    drawn.push_back(sample(sampler, logits, history).token);
    history.push_back(drawn.back());
  }
  CHECK(drawn == Tokens{60, 532, 990, 491, 166, 474, 255, 327});
}

TEST_CASE("logprob is the drawn token's under the softmax of the unmodified logits") {
  test::Random random(8);
  for (int i = 0; i < 50; ++i) {
    const std::vector<float> logits = test::random_logits(random, 200);
    SamplingParams params = plain(0.7f, 3);
    params.top_k = 5;
    params.repeat_penalty = 1.5f;
    params.logit_bias = {{3, 4.0f}, {4, -kInf}};
    Sampler sampler(params);
    const Sampled drawn = sample(sampler, logits, {1, 2, 3});
    const double p = test::softmax(test::all_of(logits)).at(drawn.token);
    CHECK(double(drawn.logprob) == doctest::Approx(std::log(p)).epsilon(1e-4));
  }
}

TEST_CASE("logit bias raises, lowers and forbids") {
  SamplingParams params = plain(0);
  params.logit_bias = {{0, 10.0f}};
  Sampler raised(params);
  CHECK(sample(raised, {1, 5, 2}, {}).token == 0);
  params.logit_bias = {{1, -kInf}, {99, 5.0f}};
  Sampler forbidden(params);
  CHECK(sample(forbidden, {1, 5, 2}, {}).token == 2);
}

TEST_CASE("XTC removes the top choices as often as it is told") {
  const std::vector<float> logits = {3, 2.5f, 2, 0};
  SamplingParams params = plain(1, 4);
  params.xtc_threshold = 0.1f;
  params.xtc_probability = 1;
  const std::vector<int> always = histogram(params, logits, 2000);
  CHECK(always[0] == 0);
  CHECK(always[1] == 0);
  CHECK(always[2] > always[3]);
  CHECK(always[3] > 0);
  params.xtc_probability = 0.25f;
  constexpr int kDraws = 40000;
  const std::vector<int> sometimes = histogram(params, logits, kDraws);
  const double p0 = test::softmax(test::all_of(logits)).at(0) * 0.75;
  CHECK(double(sometimes[0]) == doctest::Approx(p0 * kDraws).epsilon(0.03));
}

struct Mirostat {  // the algorithm of arXiv:2007.14966, with the draw made by the sampler
  double mu, tau, eta;
  // Checks that the draw was allowed, and learns from it.
  void follow(const std::vector<float>& logits, double temperature, TokenId token) {
    const test::Logits left = test::surprise_below(test::all_of(logits), mu, temperature);
    REQUIRE(left.contains(token));
    const double surprise = -std::log2(test::softmax(left, temperature).at(token));
    mu -= eta * (surprise - tau);
  }
};

TEST_CASE("mirostat 2 truncates by surprise and steers to tau") {
  test::Random random(9);
  SamplingParams params = plain(0.9f, 12);
  params.mirostat = 2;
  params.mirostat_tau = 3;
  params.mirostat_eta = 0.2f;
  Sampler sampler(params);
  Mirostat reference{6, 3, double(0.2f)};
  Tokens history;
  double late_surprise = 0;
  for (int i = 0; i < 400; ++i) {
    std::vector<float> logits(400);
    for (float& logit : logits) logit = 2 * random.normal();  // about 6 bits
    const TokenId token = sample(sampler, logits, history).token;
    const double before = reference.mu;
    reference.follow(logits, 0.9f, token);
    if (i >= 200) late_surprise += (before - reference.mu) / double(0.2f) + 3;
    sampler.accept(token);
    history.push_back(token);
  }
  CHECK(late_surprise / 200 == doctest::Approx(3).epsilon(0.1));
}

TEST_CASE("mirostat's state replays: sample twice, accept once; a copy is independent") {
  test::Random random(10);
  SamplingParams params = plain(1, 12);
  params.mirostat = 2;
  params.mirostat_tau = 2;
  Sampler once(params), twice(params), follower(params);
  Tokens history;
  for (int i = 0; i < 60; ++i) {
    const std::vector<float> logits = test::random_logits(random, 200);
    follower.resume_from(once);
    const TokenId followed = sample(follower, logits, history).token;
    follower.accept(followed);  // and it goes astray until the next round
    Sampler branch(twice);
    for (int j = 0; j < 3; ++j) {  // a branch that is thrown away
      branch.accept(sample(branch, test::random_logits(random, 200), history).token);
    }
    const TokenId token = sample(once, logits, history).token;
    CHECK(followed == token);
    CHECK(sample(twice, logits, history).token == token);
    CHECK(sample(twice, logits, history).token == token);
    once.accept(token);
    twice.accept(token);
    history.push_back(token);
  }
}

struct EvenOnly final : TokenFilter {
  explicit EvenOnly(Tokens& log) : accepted(&log) {}
  void apply(std::span<float> logits) override {
    for (size_t id = 1; id < logits.size(); id += 2) logits[id] = -kInf;
  }
  void accept(TokenId token) override { accepted->push_back(token); }
  std::unique_ptr<TokenFilter> clone() const override { return std::make_unique<EvenOnly>(*this); }
  Tokens* accepted;
};

TEST_CASE("a grammar filter forbids tokens before top-k and hears what was accepted") {
  Tokens accepted;
  SamplingParams params = plain(1, 2);
  params.top_k = 1;
  Sampler sampler(params, std::make_unique<EvenOnly>(accepted));
  CHECK(sample(sampler, {1, 9, 2, 8, 0}, {}).token == 2);
  sampler.accept(2);
  Sampler copy(sampler);
  CHECK(sample(copy, {1, 9, 2, 8, 3}, {2}).token == 4);
  copy.accept(4);
  CHECK(accepted == Tokens{2, 4});
  copy.resume_from(sampler);
  CHECK(sample(copy, {1, 9, 2, 8, 3}, {2}).token == 4);
}

TEST_CASE("penalties and bias come before the truncations") {
  SamplingParams params = plain(1, 2);
  params.top_k = 1;
  params.repeat_penalty = 10;
  Sampler sampler(params);
  CHECK(sample(sampler, {5, 4, 1}, {0}).token == 1);
}

TEST_CASE("logits that are no numbers never win; with nothing left the token is -1") {
  for (const float temperature : {0.0f, 1.0f}) {
    for (const int mirostat : {0, 2}) {
      SamplingParams params = plain(temperature, 3);
      params.mirostat = mirostat;
      Sampler sampler(params);
      CHECK(sample(sampler, {kNan, 1, -kInf, kNan}, {}).token == 1);
      CHECK(sample(sampler, {kNan, -kInf}, {}).token == -1);
      CHECK(sample(sampler, {-kInf}, {}).token == -1);
      CHECK(sample(sampler, {kInf, 3}, {}).token == 0);
      CHECK(sample(sampler, {-4}, {}).token == 0);
      sampler.accept(0);
    }
  }
  SamplingParams standard;
  standard.typical_p = 0.9f;
  standard.xtc_probability = 1;
  Sampler sampler(standard);
  CHECK(sample(sampler, {kNan, -kInf, kNan}, {}).token == -1);
  CHECK(sample(sampler, {kNan, 2, kNan}, {}).token == 1);
  CHECK(std::isinf(sample(sampler, {kNan}, {}).logprob));
}

TEST_CASE("random parameters and logits always give a token of the vocabulary") {
  test::Random random(13);
  const auto maybe = [&](float value, float off) { return random.below(2) == 0 ? value : off; };
  for (int round = 0; round < 2000; ++round) {
    SamplingParams p;
    p.temperature = maybe(random.uniform(0, 2), 0);
    p.top_k = int(random.below(60));
    p.top_p = maybe(random.uniform(0, 1), 1);
    p.min_p = maybe(random.uniform(0, 1), 0);
    p.typical_p = maybe(random.uniform(0, 1), 1);
    p.repeat_penalty = maybe(random.uniform(0.1f, 3), 1);
    p.frequency_penalty = maybe(random.uniform(-2, 2), 0);
    p.dry_multiplier = maybe(random.uniform(0, 3), 0);
    p.xtc_probability = maybe(random.uniform(0, 1), 0);
    p.mirostat = random.below(4) == 0 ? 2 : 0;
    p.seed = random.next();
    REQUIRE(validate(p).ok());
    Sampler sampler(p);
    const size_t n = 1 + random.below(50);
    Tokens history;
    for (int i = 0; i < 5; ++i) {
      std::vector<float> logits = test::random_logits(random, n);
      const size_t sure = random.below(n);
      for (size_t id = 0; id < n; ++id) {
        if (id != sure && random.below(6) == 0) logits[id] = random.below(2) == 0 ? kNan : -kInf;
      }
      const std::vector<float> before = logits;
      const Sampled drawn = sampler.sample(logits, history);
      REQUIRE(drawn.token >= 0);
      REQUIRE(drawn.token < TokenId(n));
      REQUIRE(std::isfinite(before[size_t(drawn.token)]));
      REQUIRE(drawn.logprob <= 1e-5f);
      sampler.accept(drawn.token);
      history.push_back(drawn.token);
    }
  }
}

TEST_CASE("parameters out of range are refused by name") {
  const auto refuses = [](std::string_view name, auto set) {
    SamplingParams params;
    set(params);
    const Status status = validate(params);
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().code == ErrorCode::bad_request);
    CHECK(status.error().message.find(name) != std::string::npos);
  };
  CHECK(validate(SamplingParams()).ok());
  refuses("temperature", [](SamplingParams& p) { p.temperature = -1; });
  refuses("temperature", [](SamplingParams& p) { p.temperature = kNan; });
  refuses("temperature", [](SamplingParams& p) { p.temperature = kInf; });
  refuses("top_k", [](SamplingParams& p) { p.top_k = -1; });
  refuses("top_p", [](SamplingParams& p) { p.top_p = 1.5f; });
  refuses("min_p", [](SamplingParams& p) { p.min_p = -0.1f; });
  refuses("typical_p", [](SamplingParams& p) { p.typical_p = kNan; });
  refuses("repeat_penalty", [](SamplingParams& p) { p.repeat_penalty = 0; });
  refuses("repeat_last_n", [](SamplingParams& p) { p.repeat_last_n = -2; });
  refuses("presence_penalty", [](SamplingParams& p) { p.presence_penalty = kInf; });
  refuses("frequency_penalty", [](SamplingParams& p) { p.frequency_penalty = -kInf; });
  refuses("dry_multiplier", [](SamplingParams& p) { p.dry_multiplier = -1; });
  refuses("dry_base", [](SamplingParams& p) { p.dry_base = 0.5f; });
  refuses("dry_allowed_length", [](SamplingParams& p) { p.dry_allowed_length = -1; });
  refuses("dry_last_n", [](SamplingParams& p) { p.dry_last_n = -2; });
  refuses("dry_breakers", [](SamplingParams& p) { p.dry_breakers.resize(1000); });
  refuses("dry_breakers", [](SamplingParams& p) { p.dry_breakers = {Tokens(100)}; });
  refuses("xtc_probability", [](SamplingParams& p) { p.xtc_probability = 2; });
  refuses("xtc_threshold", [](SamplingParams& p) { p.xtc_threshold = -1; });
  refuses("mirostat", [](SamplingParams& p) { p.mirostat = 1; });
  refuses("mirostat_tau", [](SamplingParams& p) { p.mirostat_tau = -1; });
  refuses("mirostat_eta", [](SamplingParams& p) { p.mirostat_eta = kNan; });
  refuses("logit_bias", [](SamplingParams& p) { p.logit_bias = {{1, kNan}}; });
  refuses("logit_bias", [](SamplingParams& p) { p.logit_bias = {{1, kInf}}; });
  refuses("logit_bias", [](SamplingParams& p) { p.logit_bias = {{-1, 0.0f}}; });
}

}  // namespace
}  // namespace lm
