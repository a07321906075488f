// Routing and experts, against f64.
#include <algorithm>
#include <cmath>

#include "tests/cpu/harness.h"

using namespace lm;
using namespace lm::test;

namespace {

std::vector<double> expert_scores(const float* logits, int64_t n, bool sigmoid) {
  std::vector<double> scores(logits, logits + n);
  const double m = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& s : scores) {
    s = sigmoid ? 1 / (1 + std::exp(-s)) : std::exp(s - m);
    sum += s;
  }
  if (!sigmoid) {
    for (double& s : scores) s /= sum;
  }
  return scores;
}

struct Experts {
  TestWeight gate, up, down;
  LoadedWeight lgate, lup, ldown;
  Experts(Backend& backend, DType type, int64_t e, int64_t d, int64_t ff, Random& random)
      : gate(random_weight(type, {1, e, ff, d}, random)),
        up(random_weight(type, {1, e, ff, d}, random)),
        down(random_weight(type, {1, e, d, ff}, random)),
        lgate(require_ok(backend.load_weight(gate.host(), WeightUse::matrix))),
        lup(require_ok(backend.load_weight(up.host(), WeightUse::matrix))),
        ldown(require_ok(backend.load_weight(down.host(), WeightUse::matrix))) {}
};

}  // namespace

TEST_CASE("moe_route: scores, ties, bias, normalisation, against f64") {
  for_each_isa([&](std::string_view isa) {
    const auto backend = open_cpu(isa, 2);
    Random random(41);
    for (const bool sigmoid : {false, true}) {
      for (const bool normalise : {false, true}) {
        const int64_t n = 5, e = 11;
        const int top_k = 3;
        std::vector<float> logits = random_floats(n * e, random);
        logits[4] = logits[7] = logits[9] = 3;  // a tie for the best of row 0
        const std::vector<float> bias = random_floats(e, random, 0.3f);
        const Guarded tl(*backend, {1, 1, n, e}, logits), tb(*backend, {1, 1, 1, e}, bias);
        for (const bool biased : {false, true}) {
          const Guarded ids(*backend, {1, 1, n, top_k}, DType::i32),
              weights(*backend, {1, 1, n, top_k});
          backend->moe_route({.logits = tl,
                              .ids = ids,
                              .weights = weights,
                              .top_k = top_k,
                              .sigmoid = sigmoid,
                              .normalise = normalise,
                              .scale = 2.5f,
                              .bias = biased ? Tensor(tb) : Tensor{}});
          REQUIRE(ids.guards_intact());
          REQUIRE(weights.guards_intact());
          const std::vector<int32_t> chosen = ids.ints();
          const std::vector<float> got = weights.floats();
          if (!biased) {
            CHECK(chosen[0] == 4);
            CHECK(chosen[1] == 7);
            CHECK(chosen[2] == 9);
          }
          for (int64_t row = 0; row < n; ++row) {
            const std::vector<double> scores = expert_scores(logits.data() + row * e, e, sigmoid);
            std::vector<int32_t> order;
            for (int32_t i = 0; i < e; ++i) order.push_back(i);
            const auto key = [&](int32_t i) {
              return scores[size_t(i)] + (biased ? double(bias[size_t(i)]) : 0);
            };
            std::stable_sort(order.begin(), order.end(),
                             [&](int32_t a, int32_t b) { return key(a) > key(b) + 1e-9; });
            double sum = 0;
            for (int j = 0; j < top_k; ++j) sum += scores[size_t(order[size_t(j)])];
            for (int j = 0; j < top_k; ++j) {
              const size_t at = size_t(row * top_k + j);
              REQUIRE(chosen[at] == order[size_t(j)]);
              const double expected =
                  scores[size_t(order[size_t(j)])] * 2.5 / (normalise ? sum : 1);
              // exp within 4u, a sum of e terms, a few products and quotients.
              REQUIRE(std::abs(got[at] - expected) <= double(2 * e + 16) * kRounding * expected);
            }
          }
        }
      }
    }
  });
}

TEST_CASE("moe_ffn: every row is the sum of its experts, against f64") {
  for_each_isa([&](std::string_view isa) {
    const auto backend = open_cpu(isa, 2);
    Random random(42);
    const int64_t n = 9, e = 5, d = 24, ff = 20, top_k = 2;
    const Experts w(*backend, DType::f32, e, d, ff, random);
    const std::vector<float> x = random_floats(n * d, random),
                             before = random_floats(n * d, random);
    const std::vector<float> gb = random_floats(e * ff, random), db = random_floats(e * d, random);
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < n; ++i) {
      ids.push_back(int32_t(random.below(4)));  // expert 4 stays idle
      ids.push_back((ids.back() + 1) % 4);
    }
    const std::vector<float> weights = random_floats(n * top_k, random);
    const Guarded tx(*backend, {1, 1, n, d}, x), tids(*backend, {1, 1, n, top_k}, ids);
    const Guarded tw(*backend, {1, 1, n, top_k}, weights), out(*backend, {1, 1, n, d}, before);
    const Guarded tgb(*backend, {1, 1, e, ff}, gb), tdb(*backend, {1, 1, e, d}, db);
    backend->moe_ffn({.x = tx,
                      .ids = tids,
                      .weights = tw,
                      .out = out,
                      .gate = w.lgate.tensor,
                      .up = w.lup.tensor,
                      .down = w.ldown.tensor,
                      .act = Act::silu,
                      .gate_bias = tgb,
                      .up_bias = tgb,
                      .down_bias = tdb});
    REQUIRE(out.guards_intact());
    const std::vector<float> got = out.floats();
    for (int64_t row = 0; row < n; ++row) {
      std::vector<double> expected(before.begin() + row * d, before.begin() + (row + 1) * d);
      double size = 0;  // Σ |terms|, for the bound
      for (int64_t j = 0; j < top_k; ++j) {
        const int64_t expert = ids[size_t(row * top_k + j)];
        const double weight = weights[size_t(row * top_k + j)];
        std::vector<double> hidden;
        for (int64_t h = 0; h < ff; ++h) {
          double g = gb[size_t(expert * ff + h)], u = g;
          for (int64_t i = 0; i < d; ++i) {
            g += double(w.gate.values[size_t((expert * ff + h) * d + i)]) * x[size_t(row * d + i)];
            u += double(w.up.values[size_t((expert * ff + h) * d + i)]) * x[size_t(row * d + i)];
          }
          hidden.push_back(g / (1 + std::exp(-g)) * u);
        }
        for (int64_t i = 0; i < d; ++i) {
          double y = db[size_t(expert * d + i)];
          for (int64_t h = 0; h < ff; ++h)
            y += double(w.down.values[size_t((expert * d + i) * ff + h)]) * hidden[size_t(h)];
          expected[size_t(i)] += weight * y;
        }
        for (const double h : hidden) size += std::abs(weight * h);
      }
      for (int64_t i = 0; i < d; ++i) {
        // Two layers of sums of d and ff terms of weights up to ~4, inputs up to ~4: the largest
        // intermediate is below 16 · d; the second sum multiplies by at most 4.
        const double bound = double(d + ff + 16) * kRounding * (64 * size + 64 * double(d));
        REQUIRE(std::abs(got[size_t(row * d + i)] - expected[size_t(i)]) <= bound);
      }
    }
  });
}

TEST_CASE("moe_ffn: a row's bits do not depend on its company or on the threads") {
  for_each_isa([&](std::string_view isa) {
    for (const DType type : {DType::f32, DType::q8_0, DType::q4_0, DType::mxfp4}) {
      std::vector<float> first;
      for (const int threads : {1, 2, 5}) {
        const auto backend = open_cpu(isa, threads);
        Random random(43);
        const int64_t n = 21, e = 6, d = 64, ff = 96, top_k = 3;
        const Experts w(*backend, type, e, d, ff, random);
        std::vector<int32_t> ids;
        for (int64_t i = 0; i < n; ++i) {
          const auto start = int32_t(random.below(uint64_t(e)));
          for (int32_t j = 0; j < top_k; ++j) ids.push_back((start + j) % int32_t(e));
        }
        const std::vector<float> zero(size_t(n * d), 0.0f);
        const Guarded x(*backend, {1, 1, n, d}, random_floats(n * d, random));
        const Guarded tids(*backend, {1, 1, n, top_k}, ids);
        const Guarded weights(*backend, {1, 1, n, top_k}, random_floats(n * top_k, random));
        const Guarded all(*backend, {1, 1, n, d}, zero), alone(*backend, {1, 1, n, d}, zero);
        MoeFfn op{.x = x,
                  .ids = tids,
                  .weights = weights,
                  .out = all,
                  .gate = w.lgate.tensor,
                  .up = w.lup.tensor,
                  .down = w.ldown.tensor,
                  .act = Act::swiglu_oai,
                  .limit = 7};
        backend->moe_ffn(op);
        for (int64_t row = 0; row < n; ++row) {
          op.x = row_range(x, row, 1);
          op.ids = row_range(tids, row, 1);
          op.weights = row_range(weights, row, 1);
          op.out = row_range(alone, row, 1);
          backend->moe_ffn(op);
        }
        REQUIRE(same_bits(all.floats(), alone.floats()));
        if (first.empty()) first = all.floats();
        REQUIRE(same_bits(all.floats(), first));
      }
    }
  });
}
