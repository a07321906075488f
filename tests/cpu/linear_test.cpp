// Linear over every type, instruction set, odd shape and number of columns.
#include <algorithm>
#include <cmath>

#include "tests/cpu/harness.h"
#include "tests/cpu/linear_reference.h"

using namespace lm;
using namespace lm::test;

namespace {

using Shape = LinearShape;

// Types that the kernels multiply as integers: their activations are rounded to 8 bits.
constexpr DType kIntegerTypes[] = {
    DType::q4_0,    DType::q4_1,   DType::q5_0,  DType::q5_1,    DType::q8_0,
    DType::q2_K,    DType::q3_K,   DType::q4_K,  DType::q5_K,    DType::q6_K,
    DType::iq4_NL,  DType::iq4_XS, DType::mxfp4, DType::iq1_S,   DType::iq1_M,
    DType::iq2_XXS, DType::iq2_XS, DType::iq2_S, DType::iq3_XXS, DType::iq3_S,
    DType::tq1_0,   DType::tq2_0,  DType::i4g32, DType::i4g64,   DType::i4g128};
bool is_integer_kernel(DType type) {
  return std::find(std::begin(kIntegerTypes), std::end(kIntegerTypes), type) !=
         std::end(kIntegerTypes);
}

struct LoadedMatrix {
  TestWeight host;
  LoadedWeight loaded;
  LoadedMatrix(Backend& backend, DType type, std::array<int64_t, 4> shape, Random& random,
               WeightUse use = WeightUse::matrix)
      : host(random_weight(type, shape, random)),
        loaded(require_ok(backend.load_weight(host.host(), use))) {}
};

std::vector<DType> all_types() {
  std::vector<DType> types;
  for (int i = 0; i < kDTypeCount; ++i) types.push_back(DType(i));
  return types;
}

void check_linear(Backend& backend, DType type, Shape s, Random& random,
                  WeightUse use = WeightUse::matrix) {
  INFO(std::string(dtype_name(type)), " n ", s.n, " m ", s.m, " k ", s.k);
  const LoadedMatrix weight(backend, type, {1, 1, s.m, s.k}, random, use);
  const std::vector<float> x = random_floats(s.n * s.k, random);
  const std::vector<float> bias = random_floats(s.m, random),
                           before = random_floats(s.n * s.m, random);
  const Guarded tx(backend, {1, 1, s.n, s.k}, x), tbias(backend, {1, 1, 1, s.m}, bias);
  const Guarded plain(backend, {1, 1, s.n, s.m}), added(backend, {1, 1, s.n, s.m}, before);
  backend.linear({.x = tx, .weight = weight.loaded.tensor, .out = plain});
  backend.linear(
      {.x = tx, .weight = weight.loaded.tensor, .out = added, .bias = tbias, .accumulate = true});
  REQUIRE(plain.guards_intact());
  REQUIRE(added.guards_intact());

  const bool integers = is_integer_kernel(type);
  const auto [expected, magnitude] =
      linear_reference(integers ? rounded_activations(x) : std::vector<double>(x.begin(), x.end()),
                       weight.host.values, s, integers);
  const std::vector<float> out = plain.floats(), sum = added.floats();
  // An integer step of 32 is an exact int32 dot with at most 6 roundings; others one per product.
  const double roundings = integers ? double(s.k) / 32 * 6 + 4 : double(s.k) + 1;
  for (size_t i = 0; i < out.size(); ++i) {
    REQUIRE(std::abs(out[i] - expected[i]) <= roundings * kRounding * magnitude[i] + kUnderflow);
    const double total = double(out[i]) + bias[i % size_t(s.m)] + before[i];
    const double scale = std::abs(out[i]) + std::abs(bias[i % size_t(s.m)]) + std::abs(before[i]);
    REQUIRE(std::abs(sum[i] - total) <= 3 * kRounding * scale);
  }
}

}  // namespace

TEST_CASE("linear: every type, odd rows and columns, against f64") {
  std::string ran;
  for_each_isa([&](std::string_view isa) {
    ran += " " + std::string(isa);
    const auto backend = open_cpu(isa, 2), alone = open_cpu(isa, 1);
    Random random(11);
    for (const DType type : all_types()) {
      const int64_t block = dtype_info(type).block_elems;
      check_linear(*backend, type, {1, 37, 2 * block}, random);
      check_linear(*backend, type, {19, 16, 3 * block}, random);
      check_linear(*backend, type, {3, 1, block}, random);
      // Rows enough that one thread takes two panels of 16 together, and one that is left.
      check_linear(*alone, type, {9, 139, 2 * block}, random);
      check_linear(*backend, type, {3, 21, block}, random, WeightUse::rows);
    }
    for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
      check_linear(*backend, type, {5, 6, 6}, random);
      check_linear(*backend, type, {2, 67, 301}, random);
    }
    check_linear(*backend, DType::q8_0, {300, 70, 96}, random);
    check_linear(*backend, DType::iq3_XXS, {300, 70, 512}, random);
  });
  MESSAGE("instruction sets that ran:", ran);
}

TEST_CASE("linear: rounding activations to 8 bits costs no more than half a step each") {
  for_each_isa([&](std::string_view isa) {
    const auto backend = open_cpu(isa, 2);
    Random random(12);
    for (const DType type : kIntegerTypes) {
      const Shape s{2, 20, 512};
      const LoadedMatrix weight(*backend, type, {1, 1, s.m, s.k}, random);
      const std::vector<float> x = random_floats(s.n * s.k, random);
      const Guarded tx(*backend, {1, 1, s.n, s.k}, x), out(*backend, {1, 1, s.n, s.m});
      backend->linear({.x = tx, .weight = weight.loaded.tensor, .out = out});
      const std::vector<float> got = out.floats();
      for (size_t i = 0; i < got.size(); ++i) {
        const int64_t row = int64_t(i) / s.m, j = int64_t(i) % s.m;
        double exact = 0, bound = 0;
        for (int64_t b = 0; b < s.k; b += 32) {
          double largest = 0, weights = 0;
          for (int64_t k = b; k < b + 32; ++k) {
            const double xk = x[size_t(row * s.k + k)];
            const double w = weight.host.values[size_t(j * s.k + k)];
            exact += xk * w;
            largest = std::max(largest, std::abs(xk));
            weights += std::abs(w);
          }
          bound += largest / 254 * 1.001 * weights;  // half of d = largest / 127
        }
        REQUIRE(std::abs(got[i] - exact) <= bound);
      }
    }
  });
}

TEST_CASE("linear: a row's bits do not depend on its company or on the threads") {
  for_each_isa([&](std::string_view isa) {
    for (const DType type : all_types()) {
      INFO(std::string(dtype_name(type)));
      // 19 panels of 16 rows: one thread takes four at once and three, two take two, five take one.
      const Shape s{33, 299, 512};
      constexpr int64_t kTogether[] = {
          1, 2, 3, 4, 5, 6, 7, 5, /* all rows again: */ 8, 9, 16, /* and again: */ 13, 20};
      std::vector<float> first;
      for (const int threads : {1, 2, 5}) {
        Random random(13);
        const auto backend = open_cpu(isa, threads);
        const LoadedMatrix weight(*backend, type, {1, 1, s.m, s.k}, random);
        const Guarded x(*backend, {1, 1, s.n, s.k}, random_floats(s.n * s.k, random));
        const Guarded all(*backend, {1, 1, s.n, s.m}), alone(*backend, {1, 1, s.n, s.m});
        backend->linear({.x = x, .weight = weight.loaded.tensor, .out = all});
        int64_t row = 0;
        for (const int64_t n : kTogether) {
          backend->linear({.x = row_range(x, row, n),
                           .weight = weight.loaded.tensor,
                           .out = row_range(alone, row, n)});
          row += n;
          if (row < s.n) continue;
          REQUIRE(same_bits(all.floats(), alone.floats()));
          row = 0;
        }
        if (first.empty()) first = all.floats();
        REQUIRE(same_bits(all.floats(), first));
      }
    }
  });
}

// The format ends at 16; what a damaged file holds is its own for every number of rows, too.
TEST_CASE("linear: zero-points of any size give the same bits in any company") {
  for_each_isa([&](std::string_view isa) {
    const auto backend = open_cpu(isa, 1);
    for (const DType type : {DType::i4g32, DType::i4g64, DType::i4g128}) {
      INFO(std::string(dtype_name(type)));
      Random random(16);
      const Shape s{33, 40, 256};
      TestWeight host = random_weight(type, {1, 1, s.m, s.k}, random);
      const auto stride = size_t(dtype_info(type).block_bytes);
      for (size_t z = 2; z < host.bytes.size(); z += stride) host.bytes[z] = std::byte(z * 37);
      const LoadedWeight weight = require_ok(backend->load_weight(host.host(), WeightUse::matrix));
      const Guarded x(*backend, {1, 1, s.n, s.k}, random_floats(s.n * s.k, random));
      const Guarded all(*backend, {1, 1, s.n, s.m}), parts(*backend, {1, 1, s.n, s.m});
      backend->linear({.x = x, .weight = weight.tensor, .out = all});
      int64_t row = 0;
      for (const int64_t n : {1, 4, 8, 20}) {
        backend->linear(
            {.x = row_range(x, row, n), .weight = weight.tensor, .out = row_range(parts, row, n)});
        row += n;
      }
      REQUIRE(row == s.n);
      REQUIRE(same_bits(all.floats(), parts.floats()));
    }
  });
}

// Weights that run from the mapped file.
TEST_CASE("linear: rows as in the file make the bits of repacked ones") {
  Random random(15);
  for (const DType type : all_types()) {
    INFO(std::string(dtype_name(type)));
    const int64_t m = 37;
    // Of the widest and of the narrowest types, rows that do not fit what is interleaved at once.
    const int64_t k =
        dtype_info(type).block_bytes * 8 >= 3 * dtype_info(type).block_elems ? 4864 : 10496;
    const TestWeight host = random_weight(type, {1, 1, m, k}, random);
    const std::vector<float> input = random_floats(7 * k, random);
    for_each_isa([&](std::string_view isa) {
      const auto backend = open_cpu(isa, 2);
      const LoadedWeight panels = require_ok(backend->load_weight(host.host(), WeightUse::matrix));
      const LoadedWeight rows = require_ok(backend->load_weight(host.host(), WeightUse::rows));
      REQUIRE(rows.tensor.layout == 0);
      const Guarded x(*backend, {1, 1, 7, k}, input);
      for (const int64_t n : {1, 7}) {
        const Guarded a(*backend, {1, 1, n, m}), b(*backend, {1, 1, n, m});
        backend->linear({.x = row_range(x, 0, n), .weight = panels.tensor, .out = a});
        backend->linear({.x = row_range(x, 0, n), .weight = rows.tensor, .out = b});
        REQUIRE(same_bits(a.floats(), b.floats()));
      }
    });
  }
}

TEST_CASE("linear: the fused forms are the plain ones") {
  for_each_isa([&](std::string_view isa) {
    const auto backend = open_cpu(isa, 3);
    Random random(14);
    const int64_t n = 7, k = 256, m = 48;
    const LoadedMatrix a(*backend, DType::q4_0, {1, 1, m, k}, random);
    const LoadedMatrix b(*backend, DType::f32, {1, 1, m, k}, random);
    const Guarded x(*backend, {1, 1, n, k}, random_floats(n * k, random));
    const Guarded weight(*backend, {1, 1, 1, k}, random_floats(k, random));
    const Guarded normed(*backend, {1, 1, n, k});
    const RmsNorm norm{.x = x, .weight = weight, .out = normed, .eps = 1e-5f};
    const Guarded fused_a(*backend, {1, 1, n, m}), fused_b(*backend, {1, 1, n, m});
    const Guarded plain_a(*backend, {1, 1, n, m}), plain_b(*backend, {1, 1, n, m});
    const std::array<Linear, 2> fused = {
        {{.x = normed, .weight = a.loaded.tensor, .out = fused_a},
         {.x = normed, .weight = b.loaded.tensor, .out = fused_b}}};
    const std::array<Linear, 2> plain = {
        {{.x = normed, .weight = a.loaded.tensor, .out = plain_a},
         {.x = normed, .weight = b.loaded.tensor, .out = plain_b}}};
    backend->norm_linears(norm, fused);
    backend->Backend::norm_linears(norm, plain);
    REQUIRE(same_bits(fused_a.floats(), plain_a.floats()));
    REQUIRE(same_bits(fused_b.floats(), plain_b.floats()));
    const auto glu = [&](const Guarded& gate, const Guarded& up) {
      return Glu{.gate = gate, .up = up, .out = gate, .act = Act::silu};
    };
    backend->norm_glu(norm, fused[0], fused[1], glu(fused_a, fused_b));
    backend->Backend::norm_glu(norm, plain[0], plain[1], glu(plain_a, plain_b));
    REQUIRE(same_bits(fused_a.floats(), plain_a.floats()));
  });
}

TEST_CASE("load_weight: refuses a shape that its bytes do not fill") {
  const auto backend = open_cpu("scalar", 1);
  const std::vector<std::byte> bytes(34 * 4);
  const auto load = [&](std::array<int64_t, 4> shape) {
    return backend->load_weight({DType::q8_0, shape, bytes}, WeightUse::matrix).ok();
  };
  CHECK(load({1, 1, 4, 32}));
  CHECK_FALSE(load({1, 1, 3, 32}));
  CHECK_FALSE(load({1, 1, 4, 34}));
  CHECK_FALSE(load({1, 1, -4, 32}));
  CHECK_FALSE(load({int64_t{1} << 40, int64_t{1} << 40, 4, 32}));
}
