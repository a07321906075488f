// Linear of many rows: every type, odd shapes, several matrices, against
// float64.
#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/cpu/harness.h"
#include "tests/cuda/rig.h"

using namespace lm;
using namespace lm::test;

namespace {

struct Shape {
  int64_t n, m, k;
};

constexpr double kHalfRounding = 1.0 / 2048;  // half a unit in the last place of f16, relative

struct Sums {
  std::vector<double> exact, magnitude;  // Σ x w, Σ |x w|
};

Sums reference(const std::vector<float>& x, const std::vector<float>& w, Shape s) {
  Sums sums{std::vector<double>(size_t(s.n * s.m)), std::vector<double>(size_t(s.n * s.m))};
  for (int64_t row = 0; row < s.n; ++row) {
    for (int64_t column = 0; column < s.m; ++column) {
      double exact = 0, magnitude = 0;
      for (int64_t i = 0; i < s.k; ++i) {
        const double product = double(x[size_t(row * s.k + i)]) * w[size_t(column * s.k + i)];
        exact += product;
        magnitude += std::abs(product);
      }
      sums.exact[size_t(row * s.m + column)] = exact;
      sums.magnitude[size_t(row * s.m + column)] = magnitude;
    }
  }
  return sums;
}

// Both factors are rounded to f16; numbers far below the largest of their row lose more, and weigh
// less.
double bound(const Sums& sums, size_t i, Shape s, double largest_product) {
  const double rounded = (2 * kHalfRounding + double(s.k + 2) * kRounding) * sums.magnitude[i];
  return rounded + double(s.k) * largest_product * 0x1p-24;
}

double largest(const std::vector<float>& values) {
  double most = 0;
  for (const float value : values) most = std::max(most, std::abs(double(value)));
  return most;
}

void check_linear(Backend& backend, DType type, Shape s, Random& random, float scale = 1) {
  INFO(std::string(dtype_name(type)), " n ", s.n, " m ", s.m, " k ", s.k);
  const TestWeight host = random_weight(type, {1, 1, s.m, s.k}, random);
  const LoadedWeight weight = require_ok(backend.load_weight(host.host(), WeightUse::matrix));
  const std::vector<float> x = random_floats(s.n * s.k, random, scale);
  const std::vector<float> bias = random_floats(s.m, random, scale),
                           before = random_floats(s.n * s.m, random, scale);
  const Guarded tx(backend, {1, 1, s.n, s.k}, x), tbias(backend, {1, 1, 1, s.m}, bias);
  const Guarded plain(backend, {1, 1, s.n, s.m}), added(backend, {1, 1, s.n, s.m}, before);
  backend.linear({.x = tx, .weight = weight.tensor, .out = plain});
  backend.linear(
      {.x = tx, .weight = weight.tensor, .out = added, .bias = tbias, .accumulate = true});
  require_ok(backend.synchronize());
  REQUIRE(plain.guards_intact());
  REQUIRE(added.guards_intact());
  const Sums sums = reference(x, host.values, s);
  const double largest_product = largest(x) * largest(host.values);
  const std::vector<float> out = plain.floats(), sum = added.floats();
  size_t n_wrong = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    const bool right = std::abs(out[i] - sums.exact[i]) <= bound(sums, i, s, largest_product);
    const double total = double(out[i]) + bias[i % size_t(s.m)] + before[i];
    const double size = std::abs(out[i]) + std::abs(bias[i % size_t(s.m)]) + std::abs(before[i]);
    n_wrong += right && std::abs(sum[i] - total) <= 3 * kRounding * size ? 0 : 1;
  }
  REQUIRE(n_wrong == 0);
}

std::unique_ptr<Backend> open_reserved() {
  std::unique_ptr<Backend> backend = open_cuda();
  if (backend != nullptr) require_ok(backend->reserve(test_limits()));
  return backend;
}

}  // namespace

TEST_CASE("gemm: every type, odd rows and columns") {
  const auto backend = open_reserved();
  if (backend == nullptr) LM_SKIP("no CUDA device");
  Random random(21);
  for (int i = 0; i < kDTypeCount; ++i) {
    const int64_t block = dtype_info(DType(i)).block_elems;
    check_linear(*backend, DType(i), {131, 37, std::max<int64_t>(block, 32)}, random);
  }
}

TEST_CASE("gemm: shapes around the tiles, on every kind of device, under every schedule") {
  if (open_reserved() == nullptr) LM_SKIP("no CUDA device");
  for_each_device_kind([] {
    const auto backend = open_reserved();
    for_each_schedule([&] {
      Random random(22);
      for (const Shape s :
           {Shape{17, 5, 301}, {129, 64, 64}, {130, 63, 256}, {191, 258, 70}, {260, 700, 130}}) {
        check_linear(*backend, DType::f16, s, random);
      }
      check_linear(*backend, DType::q8_0, {132, 130, 512}, random);
    });
  });
}

TEST_CASE("gemm: activations of any size") {
  const auto backend = open_reserved();
  if (backend == nullptr) LM_SKIP("no CUDA device");
  Random random(23);
  for (const float scale : {1e-37f, 1e-20f, 1e6f, 1e30f}) {
    CAPTURE(scale);
    check_linear(*backend, DType::q4_0, {129, 40, 96}, random, scale);
  }
}

TEST_CASE("gemm: several matrices of one input, more than fit in a slab") {
  const auto backend = open_reserved();
  if (backend == nullptr) LM_SKIP("no CUDA device");
  Random random(25);
  const int64_t n = 20, k = 96;
  const Guarded x(*backend, {1, 1, n, k}, random_floats(n * k, random)),
      normed(*backend, {1, 1, n, k}), ones(*backend, {1, 1, 1, k}, std::vector<float>(96, 1.0f));
  struct Matrix {
    TestWeight host;
    LoadedWeight weight;
    Guarded out;
  };
  std::vector<Matrix> matrices;
  std::vector<Linear> linears;
  const std::pair<DType, int64_t> kinds[] = {
      {DType::q4_0, 600}, {DType::f16, 500}, {DType::q8_0, 37}, {DType::q4_0, 300},
      {DType::f32, 5},    {DType::q8_0, 70}, {DType::q4_0, 3}};
  for (const auto& [type, m] : kinds) {
    const TestWeight host = random_weight(type, {1, 1, m, k}, random);
    LoadedWeight weight = require_ok(backend->load_weight(host.host(), WeightUse::matrix));
    matrices.push_back({host, std::move(weight), Guarded(*backend, {1, 1, n, m})});
    linears.push_back(
        {.x = normed, .weight = matrices.back().weight.tensor, .out = matrices.back().out});
  }
  backend->norm_linears({.x = x, .weight = ones, .out = normed, .eps = 1e-5f}, linears);
  require_ok(backend->synchronize());
  for (const Matrix& matrix : matrices) {
    const Shape s{n, matrix.host.shape[2], k};
    INFO("m ", s.m);
    REQUIRE(matrix.out.guards_intact());
    const Sums sums = reference(normed.floats(), matrix.host.values, s);
    const double most = largest(normed.floats()) * largest(matrix.host.values);
    const std::vector<float> out = matrix.out.floats();
    size_t n_wrong = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      n_wrong += std::abs(out[i] - sums.exact[i]) <= bound(sums, i, s, most) ? 0 : 1;
    }
    REQUIRE(n_wrong == 0);
  }
}

TEST_CASE("gemm: a row does not depend on the other rows, and zeros give zeros") {
  const auto backend = open_reserved();
  if (backend == nullptr) LM_SKIP("no CUDA device");
  Random random(24);
  const int64_t n = 144, m = 70, k = 192;
  const TestWeight host = random_weight(DType::q4_0, {1, 1, m, k}, random);
  const LoadedWeight weight = require_ok(backend->load_weight(host.host(), WeightUse::matrix));
  std::vector<float> x = random_floats(n * k, random);
  const auto run = [&] {
    const Guarded in(*backend, {1, 1, n, k}, x), out(*backend, {1, 1, n, m});
    backend->linear({.x = in, .weight = weight.tensor, .out = out});
    require_ok(backend->synchronize());
    return out.floats();
  };
  const std::vector<float> first = run();
  std::fill(x.begin() + k, x.end(), 0.0f);
  const std::vector<float> second = run();
  CHECK(std::equal(first.begin(), first.begin() + m, second.begin()));
  CHECK(std::all_of(second.begin() + m, second.end(), [](float y) { return y == 0; }));
}

TEST_CASE("linear: up to 128 rows of planes and of halves make the bits of a decode step") {
  const auto backend = open_reserved();
  if (backend == nullptr) LM_SKIP("no CUDA device");
  constexpr int64_t kRows = 128, k = 256;
  struct Case {
    DType type;
    int64_t m;
  };
  for (const auto& [type, m] :
       {Case{DType::q4_K, 50}, Case{DType::f16, 50}, Case{DType::bf16, 300}}) {
    INFO(std::string(dtype_name(type)));
    Random random(26);
    const auto load = [&](int64_t rows) {
      return require_ok(backend->load_weight(random_weight(type, {1, 1, rows, k}, random).host(),
                                             WeightUse::matrix));
    };
    const LoadedWeight gate = load(m), up = load(m);
    const Guarded x(*backend, {1, 1, kRows, k}, random_floats(kRows * k, random)),
        normed(*backend, {1, 1, kRows, k}),
        norm_weight(*backend, {1, 1, 1, k}, random_floats(k, random)),
        bias(*backend, {1, 1, 1, m}, random_floats(m, random));
    const std::vector<float> before = random_floats(kRows * m, random);
    struct Outs {
      std::vector<float> linear, normed, glu;
    };
    const auto run = [&](int64_t rows_at_once) {
      const Guarded linear(*backend, {1, 1, kRows, m}, before), other(*backend, {1, 1, kRows, m}),
          gated(*backend, {1, 1, kRows, m});
      for (int64_t row = 0; row < kRows; row += rows_at_once) {
        const int64_t n = std::min(kRows - row, rows_at_once);
        const auto part = [&](const Guarded& all) { return row_range(all, row, n); };
        const RmsNorm norm{.x = part(x), .weight = norm_weight, .out = part(normed), .eps = 1e-5f};
        const Linear ops[] = {{.x = part(normed),
                               .weight = gate.tensor,
                               .out = part(linear),
                               .bias = bias,
                               .accumulate = true},
                              {.x = part(normed), .weight = up.tensor, .out = part(other)}};
        backend->norm_linears(norm, ops);
        const Linear first{.x = part(normed), .weight = gate.tensor, .out = part(gated)};
        backend->norm_glu(
            norm, first, ops[1],
            {.gate = part(gated), .up = part(other), .out = part(gated), .act = Act::silu});
      }
      require_ok(backend->synchronize());
      CHECK((linear.guards_intact() && gated.guards_intact()));
      return Outs{linear.floats(), normed.floats(), gated.floats()};
    };
    const Outs decoded = run(7);
    for (const int64_t rows_at_once : {int64_t{17}, int64_t{100}, kRows}) {
      const Outs passed = run(rows_at_once);
      CHECK(same_bits(passed.linear, decoded.linear));
      CHECK(same_bits(passed.normed, decoded.normed));
      CHECK(same_bits(passed.glu, decoded.glu));
    }
  }
}
