// GPTQ against the textbook: plain double-precision loops that invert H, as the paper has it.
#include "quant/error_feedback.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "quant/decode.h"
#include "quant/half.h"
#include "tests/quant/known_hessian.h"

namespace lm {
namespace {

using test::hessian_of;
using test::normal_rows;
using test::Random;
using test::require_ok;

using Square = std::vector<std::vector<double>>;

// Rows whose columns go together, as activations do: noise plus a few common directions, columns of
// very different sizes.
std::vector<float> correlated_rows(int64_t n, int64_t k, uint64_t seed) {
  Random random(seed);
  std::vector<float> size(static_cast<size_t>(k)), mix(size_t(4 * k)), rows(size_t(n * k));
  for (float& v : size) v = std::exp(random.normal());
  for (float& v : mix) v = random.normal();
  for (int64_t r = 0; r < n; ++r) {
    const float common[4] = {random.normal(), random.normal(), random.normal(), random.normal()};
    for (int64_t j = 0; j < k; ++j) {
      float v = 0.5f * random.normal();
      for (int c = 0; c < 4; ++c) v += common[c] * mix[size_t(c * k + j)];
      rows[size_t(r * k + j)] = v * size[size_t(j)];
    }
  }
  return rows;
}

Square square_of(const Hessian& hessian) {
  const auto k = size_t(hessian.n_cols());
  Square h(k, std::vector<double>(k));
  for (size_t i = 0; i < k; ++i) {
    for (size_t j = 0; j < k; ++j) h[i][j] = hessian.values()[i * k + j];
  }
  return h;
}

// Gauss-Jordan.
Square inverse_of(Square a) {
  const size_t n = a.size();
  Square inverse(n, std::vector<double>(n));
  for (size_t i = 0; i < n; ++i) inverse[i][i] = 1;
  for (size_t i = 0; i < n; ++i) {
    const double pivot = a[i][i];
    for (size_t j = 0; j < n; ++j) {
      a[i][j] /= pivot;
      inverse[i][j] /= pivot;
    }
    for (size_t r = 0; r < n; ++r) {
      if (r == i) continue;
      const double factor = a[r][i];
      for (size_t j = 0; j < n; ++j) {
        a[r][j] -= factor * a[i][j];
        inverse[r][j] -= factor * inverse[i][j];
      }
    }
  }
  return inverse;
}

// Upper C with a = C^T C.
Square cholesky_upper(const Square& a) {
  const size_t n = a.size();
  Square c(n, std::vector<double>(n));
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i; j < n; ++j) {
      double sum = a[i][j];
      for (size_t k = 0; k < i; ++k) sum -= c[k][i] * c[k][j];
      c[i][j] = i == j ? std::sqrt(sum) : sum / c[i][i];
    }
  }
  return c;
}

// One row by the paper's algorithm 1, without lazy batches: column by column, the rest of the row
// corrected each time. Groups of 32 with GPTQ's asymmetric 4-bit grid, in f16 scales; `order` tells
// which column comes when, and with it all scales are chosen before.
std::vector<double> textbook_row(const std::vector<double>& w, const Square& h, double damping,
                                 const std::vector<int32_t>& order) {
  const size_t n = w.size();
  double mean = 0;
  for (size_t i = 0; i < n; ++i) mean += h[i][i] / double(n);
  Square permuted(n, std::vector<double>(n));
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j)
      permuted[i][j] = h[size_t(order[i])][size_t(order[j])] + (i == j ? damping * mean : 0);
  }
  const Square u = cholesky_upper(inverse_of(permuted));
  std::vector<double> rest(n), result(n), scale(n / 32), zero(n / 32);
  for (size_t i = 0; i < n; ++i) rest[i] = w[size_t(order[i])];
  const auto choose = [&](size_t group, const double* x) {
    double low = 0, high = 0;
    for (size_t j = 0; j < 32; ++j) {
      low = std::min(low, x[j]);
      high = std::max(high, x[j]);
    }
    scale[group] = f16_to_f32(f32_to_f16(float((high - low) / 15)));
    zero[group] = std::clamp(std::round(-low / scale[group]), 0.0, 15.0);
  };
  const bool in_order = std::is_sorted(order.begin(), order.end());
  for (size_t g = 0; !in_order && g < n / 32; ++g) choose(g, w.data() + 32 * g);
  for (size_t i = 0; i < n; ++i) {
    const auto column = size_t(order[i]);
    if (in_order && i % 32 == 0) choose(i / 32, rest.data() + i);
    const double s = scale[column / 32], z = zero[column / 32];
    const double q = std::clamp(std::round(rest[i] / s + z), 0.0, 15.0);
    result[column] = s * (q - z);
    const double error = (rest[i] - result[column]) / u[i][i];
    for (size_t j = i; j < n; ++j) rest[j] -= error * u[i][j];
  }
  return result;
}

double hessian_error(const Hessian& hessian, std::span<const float> a, std::span<const float> b,
                     ThreadPool& pool) {
  std::vector<float> e(a.size());
  for (size_t i = 0; i < e.size(); ++i) e[i] = a[i] - b[i];
  return output_error(hessian, e, int64_t(a.size()) / hessian.n_cols(), pool);
}

std::vector<float> decoded(const GridFormat& format, const std::vector<std::byte>& blocks,
                           size_t n) {
  std::vector<float> values(n);
  decode(format.type, blocks.data(), values.data(), int64_t(n));
  return values;
}

std::vector<std::byte> feedback(const Hessian& hessian, const FeedbackOptions& options,
                                const GridFormat& format, std::span<const float> w,
                                ThreadPool& pool) {
  const FeedbackPlan plan = require_ok(plan_feedback(hessian, options, pool));
  const int64_t n_rows = int64_t(w.size()) / hessian.n_cols();
  std::vector<std::byte> out(row_bytes(format.type, int64_t(w.size())));
  quantize_with_feedback(plan, format, w, n_rows, out.data(), pool);
  return out;
}

std::vector<std::byte> nearest(const GridFormat& format, std::span<const float> w, int64_t k,
                               std::span<const float> importance = {}) {
  std::vector<std::byte> out(row_bytes(format.type, int64_t(w.size())));
  const size_t bytes = row_bytes(format.type, k);
  for (size_t r = 0; r < w.size() / size_t(k); ++r) {
    round_to_nearest(format, w.subspan(r * size_t(k), size_t(k)), importance,
                     out.data() + r * bytes);
  }
  return out;
}

TEST_CASE("a Hessian is the mean of outer products, the same for any number of threads") {
  constexpr int64_t n = 700, k = 150;  // more than a run of the sums, no multiple of any block
  const std::vector<float> rows = correlated_rows(n, k, 1);
  ThreadPool one(1), three(3);
  const Hessian a = hessian_of(rows, k, one), b = hessian_of(rows, k, three);
  CHECK(std::equal(a.values().begin(), a.values().end(), b.values().begin()));
  double worst = 0;
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < k; ++j) {
      double sum = 0, size = 0;
      for (int64_t r = 0; r < n; ++r) {
        const double product = double(rows[size_t(r * k + i)]) * rows[size_t(r * k + j)];
        sum += product;
        size += std::fabs(product);
      }
      worst = std::max(worst, std::fabs(sum / n - a.values()[size_t(i * k + j)]) / (size / n));
    }
  }
  CHECK(worst < 1e-5);
}

TEST_CASE("a prior counts in a Hessian as rows whose columns are independent") {
  ThreadPool one(1);
  constexpr int64_t k = 3;
  Hessian hessian = hessian_of(std::vector<float>{1, 2, -2, 3, 0, 4}, k, one);  // two
  const std::vector<float> before(hessian.values().begin(), hessian.values().end());
  const float prior[k] = {6, 0, 1.5f};
  hessian.add_prior(prior, 6);  // three times as many
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < k; ++j) {
      const float expected = 0.25f * before[size_t(i * k + j)] + (i == j ? 0.75f * prior[i] : 0);
      CHECK(hessian.values()[size_t(i * k + j)] == doctest::Approx(expected));
    }
  }
}

TEST_CASE("a prior that is another Hessian counts as its rows would") {
  ThreadPool one(1);
  constexpr int64_t k = 40;
  const std::vector<float> rows = correlated_rows(30, k, 8);
  const std::span<const float> all(rows);
  Hessian hessian = hessian_of(all.first(10 * k), k, one);
  hessian.add_prior(hessian_of(all.last(20 * k), k, one), 20);
  const Hessian together = hessian_of(all, k, one);
  for (size_t i = 0; i < size_t(k * k); ++i)
    CHECK(hessian.values()[i] == doctest::Approx(together.values()[i]).epsilon(1e-4));
}

// What an expert that the text hardly reaches is quantized by: its own rows, and those of all.
TEST_CASE("few rows: what all experts read keeps error feedback from guessing") {
  constexpr int64_t k = 256, n_rows = 24, n_many = 1500;
  ThreadPool pool(2);
  const std::vector<float> rows = correlated_rows(2 * n_many, k, 12);
  const std::span<const float> all(rows);
  const Hessian unseen = hessian_of(all.first(n_many * k), k, pool);
  const std::span<const float> seen = all.last(n_many * k);
  Hessian shared = hessian_of(seen, k, pool);
  shared.add_prior(shared.diagonal(), 0.3 * k);
  const std::vector<float> w = normal_rows(n_rows, k, 13);
  const GridFormat format{.type = DType::i4g64, .bits = 3};
  const auto error = [&](const Hessian& hessian) {
    const auto blocks = feedback(hessian, {}, format, w, pool);
    return hessian_error(unseen, w, decoded(format, blocks, w.size()), pool);
  };
  const double rounded =
      hessian_error(unseen, w, decoded(format, nearest(format, w, k, {}), w.size()), pool);
  for (const int64_t few : {1, 8, 40}) {
    CAPTURE(few);
    const std::span<const float> own = seen.first(size_t(few * k));
    Hessian flat = hessian_of(own, k, pool), like_all = hessian_of(own, k, pool);
    const double alone = error(flat);
    flat.add_prior(shared.diagonal(), 0.3 * k);
    like_all.add_prior(shared, k);
    const double with_flat = error(flat), with_all = error(like_all);
    MESSAGE(few, " rows: nearest ", rounded, ", alone ", alone, ", independent columns ", with_flat,
            ", like all ", with_all);
    CHECK(with_flat < rounded);
    CHECK(with_all < 0.9 * with_flat);
  }
}

TEST_CASE("Hessians of nothing, and of what is not finite, are refused") {
  ThreadPool pool(1);
  Hessian empty = require_ok(Hessian::create(4));
  CHECK(empty.finish().error().message == "expected rows of activations, found none");
  for (const float bad : {NAN, INFINITY, 1e30f}) {
    Hessian hessian = require_ok(Hessian::create(4));
    const std::vector<float> rows{1, 2, bad, 4};
    hessian.add(rows, 1, pool);
    const Status status = hessian.finish();
    REQUIRE(!status.ok());
    CHECK(status.error().message == "expected finite activations, found others in column 2");
  }
  CHECK(!Hessian::create(int64_t{1} << 40).ok());
}

TEST_CASE("error feedback rounds as the textbook does") {
  constexpr int64_t k = 160, n_rows = 12;
  ThreadPool pool(2);
  const Hessian hessian = hessian_of(correlated_rows(600, k, 2), k, pool);
  const std::vector<float> w = normal_rows(n_rows, k, 3);
  const Square h = square_of(hessian);
  const GridFormat format{.type = DType::i4g32};
  for (const bool by_importance : {false, true}) {
    CAPTURE(by_importance);
    FeedbackPlan plan = require_ok(
        plan_feedback(hessian, {.damping = 0.01f, .by_importance = by_importance}, pool));
    CHECK(plan.damping == 0.01f);
    plan.importance.clear();  // scales by the plain definition
    std::vector<int32_t> order = plan.order;
    if (order.empty()) {
      order.resize(size_t(k));
      std::iota(order.begin(), order.end(), 0);
    }
    std::vector<std::byte> out(row_bytes(format.type, n_rows * k));
    quantize_with_feedback(plan, format, w, n_rows, out.data(), pool);
    const std::vector<float> got = decoded(format, out, w.size());
    // A tie that rounding decides otherwise changes what follows in its row: few rows may differ.
    int rows_that_differ = 0;
    for (int64_t r = 0; r < n_rows; ++r) {
      const std::vector<double> row(w.begin() + r * k, w.begin() + (r + 1) * k);
      const std::vector<double> expected = textbook_row(row, h, 0.01, order);
      bool same = true;
      for (int64_t j = 0; j < k; ++j)
        same = same && std::fabs(expected[size_t(j)] - got[size_t(r * k + j)]) < 1e-5;
      rows_that_differ += same ? 0 : 1;
    }
    CHECK(rows_that_differ <= 1);
  }
}

TEST_CASE("error feedback beats rounding to nearest in the output's error, on every grid") {
  constexpr int64_t k = 512, n_rows = 20;
  ThreadPool pool(2);
  const Hessian hessian = hessian_of(correlated_rows(900, k, 4), k, pool);
  const std::vector<float> diagonal = hessian.diagonal();
  const std::vector<float> w = normal_rows(n_rows, k, 5);
  std::vector<GridFormat> formats;
  for (const DType type :
       {DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1, DType::q8_0, DType::q2_K, DType::q3_K,
        DType::q4_K, DType::q5_K, DType::q6_K, DType::tq1_0, DType::tq2_0})
    formats.push_back({.type = type});
  for (const DType type : {DType::i4g32, DType::i4g64, DType::i4g128}) {
    for (const int bits : {2, 3, 4}) {
      formats.push_back({.type = type, .bits = bits});
      formats.push_back({.type = type, .bits = bits, .symmetric = true});
    }
  }
  for (const GridFormat& format : formats) {
    CAPTURE(dtype_name(format.type));
    CAPTURE(format.bits);
    CAPTURE(format.symmetric);
    const auto rounded = decoded(format, nearest(format, w, k, diagonal), w.size());
    const double rtn = hessian_error(hessian, w, rounded, pool);
    for (const bool by_importance : {false, true}) {
      const FeedbackPlan plan =
          require_ok(plan_feedback(hessian, {.by_importance = by_importance}, pool));
      std::vector<std::byte> out(row_bytes(format.type, n_rows * k));
      const double told = quantize_with_feedback(plan, format, w, n_rows, out.data(), pool);
      const auto values = decoded(format, out, w.size());
      const double error = hessian_error(hessian, w, values, pool);
      CHECK(error < 0.8 * rtn);
      // What it says of itself is with damping, which adds to it.
      double damped = error;
      const double mean =
          std::accumulate(diagonal.begin(), diagonal.end(), 0.0) / double(diagonal.size());
      for (size_t i = 0; i < w.size(); ++i)
        damped += 0.01 * mean * (double(w[i]) - values[i]) * (double(w[i]) - values[i]);
      CHECK(told == doctest::Approx(damped).epsilon(2e-3));
    }
  }
}

TEST_CASE("without correlations, error feedback is rounding to nearest") {
  constexpr int64_t k = 256, n_rows = 7;
  ThreadPool pool(2);
  std::vector<float> rows(size_t(k * k), 0.0f);
  for (int64_t i = 0; i < k; ++i) rows[size_t(i * k + i)] = 16;  // H = 1
  const Hessian hessian = hessian_of(rows, k, pool);
  const std::vector<float> w = normal_rows(n_rows, k, 6), ones(size_t(k), 1.0f);
  for (const DType type : {DType::q4_0, DType::i4g64, DType::q4_K}) {
    CAPTURE(dtype_name(type));
    const GridFormat format{.type = type};
    for (const bool by_importance : {false, true}) {
      CHECK(feedback(hessian, {.by_importance = by_importance}, format, w, pool) ==
            nearest(format, w, k, ones));
    }
  }
}

TEST_CASE("the bytes do not depend on the number of threads, nor on the rows around") {
  constexpr int64_t k = 256, n_rows = 300;  // more than are quantized at once
  ThreadPool one(1), three(3);
  const std::vector<float> rows = correlated_rows(400, k, 7), w = normal_rows(n_rows, k, 8);
  const GridFormat format{.type = DType::q4_0};
  const std::vector<std::byte> all = feedback(hessian_of(rows, k, one), {}, format, w, one);
  CHECK(all == feedback(hessian_of(rows, k, three), {}, format, w, three));
  const std::span<const float> last = std::span(w).subspan(size_t((n_rows - 3) * k));
  const std::vector<std::byte> alone = feedback(hessian_of(rows, k, one), {}, format, last, one);
  CHECK(std::equal(alone.begin(), alone.end(), all.end() - std::ptrdiff_t(alone.size())));
}

TEST_CASE("columns that are always 0 are rounded to nearest and move nothing") {
  constexpr int64_t k = 64, n_rows = 5;
  ThreadPool pool(1);
  std::vector<float> rows = correlated_rows(200, k, 9);
  for (int64_t r = 0; r < 200; ++r) {
    for (int64_t j = 32; j < k; ++j) rows[size_t(r * k + j)] = 0;
  }
  const Hessian hessian = hessian_of(rows, k, pool);
  const std::vector<float> w = normal_rows(n_rows, k, 10);
  const GridFormat format{.type = DType::q4_0};
  const auto with = feedback(hessian, {}, format, w, pool);
  const auto rounded = nearest(format, w, k, hessian.diagonal());
  const size_t bytes = row_bytes(format.type, 32);
  for (size_t r = 0; r < size_t(n_rows); ++r) {
    CHECK(std::memcmp(&with[(2 * r + 1) * bytes], &rounded[(2 * r + 1) * bytes], bytes) == 0);
  }
  const Hessian none = hessian_of(std::vector<float>(size_t(k), 0.0f), k, pool);
  CHECK(feedback(none, {}, format, w, pool) == nearest(format, w, k, none.diagonal()));
}

TEST_CASE("a singular Hessian is damped until it can be factored") {
  constexpr int64_t k = 96;
  ThreadPool pool(2);
  const Hessian hessian = hessian_of(correlated_rows(3, k, 11), k, pool);  // rank 3
  const FeedbackPlan plan = require_ok(plan_feedback(hessian, {.damping = 0}, pool));
  CHECK(plan.damping > 0);
  CHECK(plan.damping <= 1);
  for (const float pivot : plan.pivots) CHECK(pivot > 0);
  const std::vector<float> w = normal_rows(4, k, 12);
  const GridFormat format{.type = DType::q4_0};
  const auto fed = decoded(format, feedback(hessian, {.damping = 0}, format, w, pool), w.size());
  const auto rounded = decoded(format, nearest(format, w, k, hessian.diagonal()), w.size());
  CHECK(hessian_error(hessian, w, fed, pool) < hessian_error(hessian, w, rounded, pool));
}

TEST_CASE("weights that are not finite stay in their row") {
  constexpr int64_t k = 64;
  ThreadPool pool(1);
  const Hessian hessian = hessian_of(correlated_rows(200, k, 13), k, pool);
  std::vector<float> w = normal_rows(3, k, 14);
  const GridFormat format{.type = DType::i4g32};
  const auto before = feedback(hessian, {}, format, w, pool);
  w[size_t(k + 5)] = NAN;
  w[size_t(k + 7)] = INFINITY;
  const auto after = feedback(hessian, {}, format, w, pool);
  const size_t bytes = row_bytes(format.type, k);
  CHECK(std::memcmp(before.data(), after.data(), bytes) == 0);
  CHECK(std::memcmp(&before[2 * bytes], &after[2 * bytes], bytes) == 0);
  for (const float v : decoded(format, after, w.size())) CHECK(std::isfinite(v));
}

}  // namespace
}  // namespace lm
