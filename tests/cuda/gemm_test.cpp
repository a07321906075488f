// Linear of more rows than a decode step has: every type, odd shapes, several matrices, against
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

// Both factors are rounded to f16 (numbers far below a row's largest lose more, and weigh less) or,
// where a kernel multiplies integers, x to 8 bits: then half of a 127th of the group's largest.
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
  for (size_t i = 0; i < out.size(); ++i) {
    REQUIRE(std::abs(out[i] - sums.exact[i]) <= bound(sums, i, s, largest_product));
    const double total = double(out[i]) + bias[i % size_t(s.m)] + before[i];
    const double size = std::abs(out[i]) + std::abs(bias[i % size_t(s.m)]) + std::abs(before[i]);
    REQUIRE(std::abs(sum[i] - total) <= 3 * kRounding * size);
  }
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
    check_linear(*backend, DType(i), {19, 37, std::max<int64_t>(block, 32)}, random);
  }
}

TEST_CASE("gemm: shapes around the tiles, under every schedule") {
  const auto backend = open_reserved();
  if (backend == nullptr) LM_SKIP("no CUDA device");
  for_each_schedule([&] {
    Random random(22);
    for (const Shape s : {Shape{17, 5, 301}, {64, 64, 64}, {65, 63, 256}, {131, 258, 70}}) {
      check_linear(*backend, DType::f16, s, random);
    }
    check_linear(*backend, DType::q8_0, {33, 130, 512}, random);
  });
}

TEST_CASE("gemm: activations of any size") {
  const auto backend = open_reserved();
  if (backend == nullptr) LM_SKIP("no CUDA device");
  Random random(23);
  for (const float scale : {1e-37f, 1e-20f, 1e6f, 1e30f}) {
    CAPTURE(scale);
    check_linear(*backend, DType::q4_0, {18, 40, 96}, random, scale);
  }
}

TEST_CASE("gemm: a row does not depend on the other rows, and zeros give zeros") {
  const auto backend = open_reserved();
  if (backend == nullptr) LM_SKIP("no CUDA device");
  Random random(24);
  const int64_t n = 40, m = 70, k = 192;
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
