// AWQ's searches: they never lose to plain rounding, they find what they should, and a grid is what
// decode() makes of a block.
#include "quant/activation_scales.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/decode.h"
#include "quant/error_feedback.h"
#include "tests/quant/known_hessian.h"

namespace lm {
namespace {

using test::hessian_of;
using test::normal_rows;
using test::Random;
using test::require_ok;

// Activations with a few large channels, as transformers have.
std::vector<float> outlier_rows(int64_t n, int64_t k, uint64_t seed) {
  Random random(seed);
  std::vector<float> rows(size_t(n * k));
  for (int64_t i = 0; i < n * k; ++i)
    rows[size_t(i)] = random.normal() * (i % k % 37 == 5 ? 20.0f : 1.0f);
  return rows;
}

// Of blocks of W · s under H / s s^T, measured as the outputs of actual rows: Σ |x Q / s - x W|².
double measured_error(std::span<const float> x, std::span<const float> w, int64_t k,
                      std::span<const float> s, const GridFormat& format,
                      const std::vector<std::byte>& blocks) {
  std::vector<float> q(w.size());
  decode(format.type, blocks.data(), q.data(), int64_t(q.size()));
  double total = 0;
  for (size_t t = 0; t < x.size() / size_t(k); ++t) {
    for (size_t r = 0; r < w.size() / size_t(k); ++r) {
      double sum = 0;
      for (size_t j = 0; j < size_t(k); ++j) {
        const double value = double(q[r * size_t(k) + j]) / s[j];
        sum += x[t * size_t(k) + j] * (value - w[r * size_t(k) + j]);
      }
      total += sum * sum;
    }
  }
  return total / double(x.size() / size_t(k));
}

TEST_CASE("a grid is what decode() makes of a block's codes") {
  Random random(21);
  for (int t = 0; t < kDTypeCount; ++t) {
    const GridFormat format{.type = DType(t)};
    if (!has_grid(format.type)) continue;
    CAPTURE(dtype_name(format.type));
    const int n = format.block_elems();
    std::vector<float> x(static_cast<size_t>(n)), values(static_cast<size_t>(n));
    for (float& v : x) v = random.normal();
    std::vector<std::byte> block(format.block_bytes());
    for (const bool weighted : {false, true}) {
      const std::vector<float> ones(size_t(n), 1.0f);
      choose_scales(format, x.data(), weighted ? ones.data() : nullptr, 0, block.data());
      BlockGrid grid;
      read_grid(format, block.data(), grid);
      std::vector<int> q(static_cast<size_t>(n));
      for (int& code : q) code = int(random.below(uint64_t(grid.q_max + 1)));
      write_codes(format.type, q.data(), block.data());
      decode(format.type, block.data(), values.data(), n);
      for (int j = 0; j < n; ++j) {
        const float expected = grid.offset[j] + grid.step[j] * float(q[size_t(j)]);
        CHECK(values[size_t(j)] == doctest::Approx(expected).epsilon(1e-5));
      }
      write_nearest(format, grid, x.data(), block.data());
      decode(format.type, block.data(), values.data(), n);
      for (int j = 0; j < n; ++j) {
        const float low = std::min(grid.offset[j], grid.offset[j] + grid.step[j] * grid.q_max),
                    high = std::max(grid.offset[j], grid.offset[j] + grid.step[j] * grid.q_max);
        const float inside = std::clamp(x[size_t(j)], low, high);
        CHECK(std::fabs(values[size_t(j)] - inside) <= 0.5001f * std::fabs(grid.step[j]) + 1e-6f);
      }
    }
  }
}

TEST_CASE("fewer bits use fewer codes, and symmetric groups have their zero in the middle") {
  const std::vector<float> x = normal_rows(1, 64, 22);
  for (const int bits : {2, 3, 4}) {
    for (const bool symmetric : {false, true}) {
      const GridFormat format{.type = DType::i4g64, .bits = bits, .symmetric = symmetric};
      std::vector<std::byte> block(format.block_bytes());
      round_to_nearest(format, x, {}, block.data());
      for (size_t i = 3; i < block.size(); ++i) {
        CHECK((int(block[i]) & 15) < 1 << bits);
        CHECK((int(block[i]) >> 4) < 1 << bits);
      }
      if (symmetric) CHECK(int(block[2]) == 1 << (bits - 1));
    }
  }
}

TEST_CASE("scales follow the large channels, and the error they promise is the one measured") {
  constexpr int64_t k = 128, n_rows = 24;
  ThreadPool pool(2);
  const std::vector<float> x = outlier_rows(500, k, 23), w = normal_rows(n_rows, k, 24);
  const Hessian hessian = hessian_of(x, k, pool);
  for (const GridFormat& format :
       {GridFormat{.type = DType::i4g128, .bits = 3}, GridFormat{.type = DType::i4g128},
        GridFormat{.type = DType::q4_0}}) {
    CAPTURE(dtype_name(format.type));
    CAPTURE(format.bits);
    const ScaleSearch found = search_scales(hessian, format, w, n_rows, {}, pool);
    CHECK(found.error < 0.7 * found.error_before);
    CHECK(found.scales[5] > 2 * found.scales[6]);
    // The same, with real rows through real blocks.
    std::vector<float> scaled(w.size());
    for (size_t i = 0; i < w.size(); ++i) scaled[i] = w[i] * found.scales[i % size_t(k)];
    const size_t bytes = row_bytes(format.type, k);
    std::vector<std::byte> blocks(bytes * n_rows);
    for (size_t r = 0; r < size_t(n_rows); ++r) {
      round_to_nearest(format, std::span(scaled).subspan(r * size_t(k), size_t(k)), {},
                       &blocks[r * bytes]);
    }
    const double rounded = measured_error(x, w, k, found.scales, format, blocks);
    CHECK(rounded == doctest::Approx(found.error).epsilon(1e-3));
    quantize_clipped(BlockHessians(hessian, found.scales, format.block_elems()), format, scaled,
                     n_rows, blocks.data(), pool);
    CHECK(measured_error(x, w, k, found.scales, format, blocks) < rounded);
  }
}

TEST_CASE("columns of one producer get one scale") {
  constexpr int64_t k = 128;
  ThreadPool pool(2);
  const std::vector<float> x = outlier_rows(300, k, 25), w = normal_rows(8, k, 26);
  std::vector<int32_t> tied(size_t(k), 0);
  for (size_t j = 0; j < size_t(k); ++j) tied[j] = int32_t(j % 64);
  const ScaleSearch found =
      search_scales(hessian_of(x, k, pool), {.type = DType::q4_0}, w, 8, tied, pool);
  for (size_t j = 0; j < 64; ++j) CHECK(found.scales[j] == found.scales[j + 64]);
}

TEST_CASE("where no scale helps, all are 1; threads change nothing") {
  constexpr int64_t k = 64;
  ThreadPool one(1), three(3);
  const Hessian none = hessian_of(std::vector<float>(size_t(k), 0.0f), k, one);
  const std::vector<float> w = normal_rows(300, k, 27);
  for (const float s : search_scales(none, {.type = DType::q4_0}, w, 300, {}, one).scales)
    CHECK(s == 1);
  const Hessian hessian = hessian_of(outlier_rows(300, k, 28), k, one);
  const GridFormat format{.type = DType::i4g32};
  const ScaleSearch a = search_scales(hessian, format, w, 300, {}, one),
                    b = search_scales(hessian, format, w, 300, {}, three);
  CHECK(a.scales == b.scales);
  std::vector<std::byte> x(row_bytes(format.type, 300 * k)), y(x.size());
  const BlockHessians blocks(hessian, {}, 32);
  quantize_clipped(blocks, format, w, 300, x.data(), one);
  quantize_clipped(blocks, format, w, 300, y.data(), three);
  CHECK(x == y);
}

}  // namespace
}  // namespace lm
