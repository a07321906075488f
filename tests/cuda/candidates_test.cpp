// top_candidates against a sort of the whole row.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "tests/cpu/harness.h"
#include "tests/cuda/rig.h"

using namespace lm;
using namespace lm::test;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Case {
  int64_t n, n_vocab, k;
};

// Normal numbers, some equal, some that are none.
std::vector<float> random_logits(int64_t n, Random& random) {
  std::vector<float> logits(size_t(n), 0);
  for (float& logit : logits) {
    logit = random.normal() * 5;
    const uint64_t kind = random.below(40);
    if (kind == 0) logit = std::numeric_limits<float>::quiet_NaN();
    if (kind == 1) logit = -kInfinity;
    if (kind == 2) logit = 3;
    if (kind == 3) logit = -0.0f;
  }
  return logits;
}

float bounded(float logit) {
  return std::isnan(logit) ? -kInfinity : std::min(logit, std::numeric_limits<float>::max());
}

void check_case(Backend& backend, const Case& c) {
  Random random(uint64_t(c.n_vocab * 31 + c.k));
  const std::vector<float> logits = random_logits(c.n * c.n_vocab, random);
  const Guarded in(backend, {1, 1, c.n, c.n_vocab}, logits);
  const Guarded ids(backend, {1, 1, c.n, c.k}, DType::i32), values(backend, {1, 1, c.n, c.k}),
      totals(backend, {1, 1, c.n, 2});
  StepLimits limits = test_limits();
  limits.max_linear_out = c.n_vocab;
  REQUIRE(backend.reserve(limits).ok());
  backend.top_candidates({.logits = in, .ids = ids, .values = values, .totals = totals});
  REQUIRE(backend.synchronize().ok());
  const std::vector<int32_t> got_ids = ids.ints();
  const std::vector<float> got_values = values.floats(), got_totals = totals.floats();
  for (int64_t row = 0; row < c.n; ++row) {
    std::vector<float> scores(size_t(c.n_vocab), 0);
    for (size_t i = 0; i < scores.size(); ++i)
      scores[i] = bounded(logits[size_t(row * c.n_vocab) + i]);
    std::vector<int32_t> order(scores.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return scores[size_t(a)] > scores[size_t(b)]; });
    for (int64_t i = 0; i < c.k; ++i) {
      const bool exists = i < c.n_vocab;
      INFO("row ", row, " place ", i);
      REQUIRE(got_ids[size_t(row * c.k + i)] == (exists ? order[size_t(i)] : -1));
      REQUIRE(got_values[size_t(row * c.k + i)] ==
              (exists ? scores[size_t(order[size_t(i)])] : -kInfinity));
    }
    const float max = scores[size_t(order[0])];
    double sum = 0;
    for (const float score : scores) sum += std::exp(double(score) - double(max));
    CHECK(got_totals[size_t(row * 2)] == max);
    CHECK(double(got_totals[size_t(row * 2 + 1)]) == doctest::Approx(std::log(sum)).epsilon(1e-5));
  }
  CHECK((ids.guards_intact() && values.guards_intact() && totals.guards_intact()));
}

constexpr Case kCases[] = {{1, 1, 1},    {2, 7, 16},   {3, 4095, 128}, {2, 4096, 40},
                           {1, 4097, 1}, {70, 300, 5}, {2, 40000, 128}};

}  // namespace

TEST_CASE("a device finds the largest logits of a row in order") {
  LM_CUDA(backend);
  for_each_schedule([&] {
    for (const Case& c : kCases) check_case(*backend, c);
  });
}

TEST_CASE("a processor finds the largest logits of a row in order") {
  const std::unique_ptr<Backend> backend = open_cpu("scalar", 2);
  for (const Case& c : kCases) check_case(*backend, c);
}
