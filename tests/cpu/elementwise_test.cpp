// The row-wise operations against f64, at sizes around every vector length.
#include <algorithm>
#include <cmath>

#include "tests/cpu/harness.h"

using namespace lm;
using namespace lm::test;

namespace {

constexpr int64_t kSizes[] = {1, 6, 7, 8, 15, 16, 17, 33, 64, 100, 255};

double act_reference(Act act, double g, double u, double limit) {
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  switch (act) {
    case Act::silu:
      return g * sigmoid(g) * u;
    case Act::gelu_tanh:
      return g / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g))) * u;
    case Act::gelu_erf:
      return g / 2 * (1 + std::erf(g / std::sqrt(2.0))) * u;
    case Act::swiglu_oai: {
      const double gc = std::min(g, limit), uc = std::clamp(u, -limit, limit);
      return gc * sigmoid(1.702 * gc) * (uc + 1);
    }
  }
  return 0;
}

}  // namespace

TEST_CASE("rms_norm: against f64, in place and not") {
  for_each_isa([&](std::string_view isa) {
    const auto backend = open_cpu(isa, 2);
    Random random(21);
    for (const int64_t cols : kSizes) {
      const int64_t rows = 3;
      const std::vector<float> x = random_floats(rows * cols, random);
      const std::vector<float> w = random_floats(cols, random);
      const Guarded tx(*backend, {1, 1, rows, cols}, x), tw(*backend, {1, 1, 1, cols}, w);
      const Guarded out(*backend, {1, 1, rows, cols});
      backend->rms_norm({.x = tx, .weight = tw, .out = out, .eps = 1e-5f});
      backend->rms_norm({.x = tx, .weight = tw, .out = tx, .eps = 1e-5f});
      REQUIRE(out.guards_intact());
      REQUIRE(tx.guards_intact());
      REQUIRE(same_bits(out.floats(), tx.floats()));
      const std::vector<float> got = out.floats();
      for (int64_t row = 0; row < rows; ++row) {
        double sum = 0;
        for (int64_t i = 0; i < cols; ++i)
          sum += double(x[size_t(row * cols + i)]) * x[size_t(row * cols + i)];
        for (int64_t i = 0; i < cols; ++i) {
          const size_t at = size_t(row * cols + i);
          const double expected =
              x[at] / std::sqrt(sum / double(cols) + double(1e-5f)) * w[size_t(i)];
          // The mean of positive terms: (cols + 3) u, halved by the root; then 4 operations.
          const double bound = (double(cols + 3) / 2 + 5) * kRounding * std::abs(expected);
          REQUIRE(std::abs(got[at] - expected) <= bound);
        }
      }
    }
  });
}

TEST_CASE("glu: every activation over the whole range, against f64") {
  for_each_isa([&](std::string_view isa) {
    const auto backend = open_cpu(isa, 2);
    Random random(22);
    for (const Act act : {Act::silu, Act::gelu_tanh, Act::gelu_erf, Act::swiglu_oai}) {
      INFO("activation ", int(act));
      for (const int64_t cols : kSizes) {
        std::vector<float> g = random_floats(2 * cols, random, 4),
                           u = random_floats(2 * cols, random, 4);
        g[0] = -200;  // exp overflows, tanh and erf are ±1
        g.back() = 90;
        const float limit = 7;
        const Guarded tg(*backend, {1, 1, 2, cols}, g), tu(*backend, {1, 1, 2, cols}, u);
        const Guarded out(*backend, {1, 1, 2, cols});
        backend->glu({.gate = tg, .up = tu, .out = out, .act = act, .limit = limit});
        REQUIRE(out.guards_intact());
        const std::vector<float> got = out.floats();
        for (size_t i = 0; i < got.size(); ++i) {
          const double expected = act_reference(act, g[i], u[i], limit);
          // σ, tanh and erf are within 5e-7 of the truth (exp: 2 ulp, argument rounding of up to
          // |g| u); the products around them scale that by |g| (|u| + 1).
          const double size = std::abs(double(g[i])) * (std::abs(double(u[i])) + 1);
          REQUIRE(std::abs(got[i] - expected) <= 5e-7 * size + 8 * kRounding * std::abs(expected));
        }
      }
    }
  });
}

TEST_CASE("glu: NaN stays NaN, in any lane") {
  for_each_isa([&](std::string_view isa) {
    const auto backend = open_cpu(isa, 1);
    const int64_t cols = 35;
    for (const Act act : {Act::silu, Act::gelu_tanh, Act::gelu_erf}) {
      for (const size_t lane : {0, 9, 34}) {
        std::vector<float> g(size_t(cols), 1.0f);
        g[lane] = NAN;
        const Guarded tg(*backend, {1, 1, 1, cols}, g);
        const Guarded tu(*backend, {1, 1, 1, cols}, std::vector<float>(size_t(cols), 1.0f));
        backend->glu({.gate = tg, .up = tu, .out = tg, .act = act});
        const std::vector<float> got = tg.floats();
        for (size_t i = 0; i < got.size(); ++i) REQUIRE(std::isnan(got[i]) == (i == lane));
      }
    }
  });
}

TEST_CASE("gather_columns: any order, more or fewer columns, exact") {
  for_each_isa([&](std::string_view isa) {
    const auto backend = open_cpu(isa, 2);
    Random random(7);
    for (const int64_t n : {1, 5, 33}) {
      const std::vector<float> x = random_floats(3 * 17, random);
      std::vector<int32_t> columns(size_t(n), 0);
      for (int32_t& column : columns) column = int32_t(random.below(17));
      const Guarded tx(*backend, {1, 1, 3, 17}, x), from(*backend, {1, 1, 1, n}, columns);
      const Guarded out(*backend, {1, 1, 3, n});
      backend->gather_columns(tx, from, out);
      REQUIRE(out.guards_intact());
      const std::vector<float> got = out.floats();
      for (size_t i = 0; i < got.size(); ++i)
        REQUIRE(got[i] == x[i / size_t(n) * 17 + size_t(columns[i % size_t(n)])]);
    }
  });
}

TEST_CASE("add, embed, gather_rows: exact") {
  for_each_isa([&](std::string_view isa) {
    const auto backend = open_cpu(isa, 2);
    Random random(23);
    for (const int64_t cols : kSizes) {
      const std::vector<float> a = random_floats(4 * cols, random),
                               b = random_floats(4 * cols, random);
      const Guarded ta(*backend, {1, 1, 4, cols}, a), tb(*backend, {1, 1, 4, cols}, b);
      const Guarded picked(*backend, {1, 1, 3, cols});
      const Guarded ids(*backend, {1, 1, 1, 3}, std::vector<int32_t>{3, 0, 3});
      backend->gather_rows(ta, ids, picked);
      backend->add(ta, tb, ta);
      REQUIRE(ta.guards_intact());
      REQUIRE(picked.guards_intact());
      const std::vector<float> sum = ta.floats(), rows = picked.floats();
      for (size_t i = 0; i < a.size(); ++i) REQUIRE(sum[i] == a[i] + b[i]);
      for (size_t i = 0; i < size_t(cols); ++i) {
        REQUIRE(rows[i] == a[size_t(3 * cols) + i]);
        REQUIRE(rows[size_t(cols) + i] == a[i]);
      }
    }
    for (const DType type : {DType::f32, DType::f16, DType::q8_0, DType::q6_K, DType::iq2_XS}) {
      const int64_t cols = 512;
      const TestWeight table = random_weight(type, {1, 1, 9, cols}, random);
      const LoadedWeight loaded = require_ok(backend->load_weight(table.host(), WeightUse::rows));
      const Guarded ids(*backend, {1, 1, 1, 3}, std::vector<int32_t>{8, 1, 0});
      const Guarded out(*backend, {1, 1, 3, cols});
      backend->embed(loaded.tensor, ids, 2.5f, out);
      REQUIRE(out.guards_intact());
      const std::vector<float> got = out.floats();
      for (size_t i = 0; i < size_t(cols); ++i) {
        REQUIRE(got[i] == 2.5f * table.values[size_t(8 * cols) + i]);
        REQUIRE(got[size_t(cols) + i] == 2.5f * table.values[size_t(cols) + i]);
      }
    }
  });
}

TEST_CASE("load_weight: vectors become f32") {
  const auto backend = open_cpu("scalar", 1);
  Random random(24);
  for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::q8_0}) {
    const TestWeight host = random_weight(type, {1, 1, 2, 64}, random);
    const LoadedWeight loaded = require_ok(backend->load_weight(host.host(), WeightUse::vector));
    REQUIRE(loaded.tensor.dtype == DType::f32);
    std::vector<float> values(128);
    backend->download(std::as_writable_bytes(std::span(values)), loaded.tensor);
    CHECK(values == host.values);
  }
}

TEST_CASE("rope: both pairings, partial rotation, far positions, against f64") {
  for_each_isa([&](std::string_view isa) {
    const auto backend = open_cpu(isa, 2);
    Random random(25);
    for (const bool neox : {false, true}) {
      for (const int64_t head_dim : {6, 8, 34, 64, 80}) {
        for (const int64_t n_freqs : {head_dim / 2, head_dim / 4 + 1}) {
          const int64_t n = 3, heads = 4, kv_heads = 2;
          const std::vector<float> q = random_floats(n * heads * head_dim, random);
          const std::vector<float> k = random_floats(n * kv_heads * head_dim, random);
          std::vector<float> freqs;
          for (int64_t i = 0; i < n_freqs; ++i)
            freqs.push_back(float(std::pow(1e4, -double(i) / double(n_freqs))));
          const std::vector<int32_t> positions = {0, 77, 131071};
          const Guarded tq(*backend, {1, n, heads, head_dim}, q),
              tk(*backend, {1, n, kv_heads, head_dim}, k);
          const Guarded tf(*backend, {1, 1, 1, n_freqs}, freqs);
          const Guarded tp(*backend, {1, 1, 1, n}, positions);
          StepView step;
          step.n_tokens = int(n);
          step.positions = tp;
          backend->rope({.q = tq, .k = tk, .inv_freq = tf, .neox = neox, .magnitude = 1.25f}, step);
          REQUIRE(tq.guards_intact());
          REQUIRE(tk.guards_intact());
          const auto check = [&](const std::vector<float>& before, const std::vector<float>& got,
                                 int64_t n_heads) {
            for (size_t at = 0; at < got.size(); ++at) {
              const int64_t d = int64_t(at) % head_dim, head = int64_t(at) / head_dim;
              const int64_t base = head * head_dim;
              const int64_t pair = neox ? d % n_freqs : d / 2;
              if (d >= 2 * n_freqs) {
                REQUIRE(got[at] == before[at]);
                continue;
              }
              const bool second = neox ? d >= n_freqs : d % 2 == 1;
              const double x0 = before[size_t(base + (neox ? pair : 2 * pair))];
              const double x1 = before[size_t(base + (neox ? pair + n_freqs : 2 * pair + 1))];
              const double angle =
                  double(positions[size_t(head / n_heads)]) * double(freqs[size_t(pair)]);
              const double c = 1.25 * std::cos(angle), s = 1.25 * std::sin(angle);
              const double expected = second ? x0 * s + x1 * c : x0 * c - x1 * s;
              // cos and sin rounded, times magnitude, two products and a sum: 4 roundings each.
              REQUIRE(std::abs(got[at] - expected) <=
                      5 * kRounding * 1.25 * (std::abs(x0) + std::abs(x1)));
            }
          };
          check(q, tq.floats(), heads);
          check(k, tk.floats(), kv_heads);
        }
      }
    }
  });
}
