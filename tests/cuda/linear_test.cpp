// Linear layers of few rows: every type, odd shapes, in planes and as in the file, against f64.
#include <algorithm>
#include <cmath>

#include "tests/cpu/harness.h"
#include "tests/cpu/linear_reference.h"
#include "tests/cuda/rig.h"

using namespace lm;
using namespace lm::test;

namespace {

using Shape = LinearShape;

// Types that are multiplied as integers, with activations rounded to 8 bits.
constexpr DType kPlaneTypes[] = {DType::q4_0,  DType::q4_1,  DType::q5_0,   DType::q5_1,
                                 DType::q8_0,  DType::q2_K,  DType::q3_K,   DType::q4_K,
                                 DType::q5_K,  DType::q6_K,  DType::mxfp4,  DType::iq4_NL,
                                 DType::i4g32, DType::i4g64, DType::i4g128, DType::iq4_XS};
bool in_planes(DType type, WeightUse use) {
  const auto end = std::end(kPlaneTypes);
  return use == WeightUse::matrix && std::find(std::begin(kPlaneTypes), end, type) != end;
}

std::unique_ptr<Backend> reserved(std::unique_ptr<Backend> backend, int64_t k) {
  StepLimits limits = test_limits();
  limits.max_linear_in = std::max(limits.max_linear_in, k);
  if (backend != nullptr) require_ok(backend->reserve(limits));
  return backend;
}

void check_linear(Backend& backend, DType type, Shape s, Random& random,
                  WeightUse use = WeightUse::matrix) {
  INFO(std::string(dtype_name(type)), " n ", s.n, " m ", s.m, " k ", s.k);
  const TestWeight host = random_weight(type, {1, 1, s.m, s.k}, random);
  const LoadedWeight weight = require_ok(backend.load_weight(host.host(), use));
  const std::vector<float> x = random_floats(s.n * s.k, random);
  const std::vector<float> bias = random_floats(s.m, random),
                           before = random_floats(s.n * s.m, random);
  Guarded tx(backend, {1, 1, s.n, s.k}, x), tbias(backend, {1, 1, 1, s.m}, bias);
  Guarded plain(backend, {1, 1, s.n, s.m}), added(backend, {1, 1, s.n, s.m}, before);
  backend.linear({.x = tx, .weight = weight.tensor, .out = plain});
  backend.linear(
      {.x = tx, .weight = weight.tensor, .out = added, .bias = tbias, .accumulate = true});
  REQUIRE(plain.guards_intact());
  REQUIRE(added.guards_intact());

  const bool integers = in_planes(type, use);
  const LinearReference e =
      linear_reference(integers ? rounded_activations(x) : std::vector<double>(x.begin(), x.end()),
                       host.values, s, integers);
  const std::vector<float> out = plain.floats(), sum = added.floats();
  // A group of 32 is an exact integer dot with at most 6 roundings, and 16 segments are merged;
  // plain numbers round once a product, or x to 22 bits and once a sum of products.
  const double roundings = integers ? double(s.k) / 32 * 6 + 20 : double(s.k) + 10;
  for (size_t i = 0; i < out.size(); ++i) {
    REQUIRE(std::abs(out[i] - e.out[i]) <= roundings * kRounding * e.magnitude[i] + kUnderflow);
    const double total = double(out[i]) + bias[i % size_t(s.m)] + before[i];
    const double scale = std::abs(out[i]) + std::abs(bias[i % size_t(s.m)]) + std::abs(before[i]);
    REQUIRE(std::abs(sum[i] - total) <= 3 * kRounding * scale);
  }
}

}  // namespace

TEST_CASE("cuda linear: every type, odd rows and columns, against f64") {
  const auto cuda = reserved(open_cuda(), 0);
  if (cuda == nullptr) LM_SKIP("no CUDA device");
  Random random(211);
  for (int i = 0; i < kDTypeCount; ++i) {
    const DType type = DType(i);
    const int64_t block = dtype_info(type).block_elems;
    check_linear(*cuda, type, {1, 37, block < 32 ? 100 : 3 * block}, random);
    check_linear(*cuda, type, {3, 1, block}, random);
    check_linear(*cuda, type, {3, 21, block}, random, WeightUse::rows);
  }
  for (const DType type : kPlaneTypes) {
    check_linear(*cuda, type, {11, 50, type == DType::q8_0 ? 160 : 256}, random);
  }
  // More pairs of tiles than blocks that run at once on any device.
  check_linear(*cuda, DType::q8_0, {1, 16400, 32}, random);
  check_linear(*cuda, DType::q4_0, {9, 8210, 32}, random);
}

// One row of x times few rows of weights: a kernel that fetches further ahead.
TEST_CASE("cuda linear: long sums alone and in company have the same bits") {
  constexpr int64_t kColumns = 66 * 128, kOut = 37, kRows = 9;
  const auto cuda = reserved(open_cuda(), kColumns);
  if (cuda == nullptr) LM_SKIP("no CUDA device");
  Random random(212);
  for (const DType type : kPlaneTypes) {
    check_linear(*cuda, type, {2, kOut, kColumns}, random);
    const TestWeight host = random_weight(type, {1, 1, kOut, kColumns}, random);
    const LoadedWeight weight = require_ok(cuda->load_weight(host.host(), WeightUse::matrix));
    const std::vector<float> x = random_floats(kRows * kColumns, random);
    const std::vector<float> first(x.begin(), x.begin() + kColumns);
    Guarded one(*cuda, {1, 1, 1, kColumns}, first), all(*cuda, {1, 1, kRows, kColumns}, x);
    Guarded alone(*cuda, {1, 1, 1, kOut}), together(*cuda, {1, 1, kRows, kOut});
    cuda->linear({.x = one, .weight = weight.tensor, .out = alone});
    cuda->linear({.x = all, .weight = weight.tensor, .out = together});
    std::vector<float> row = together.floats();
    row.resize(kOut);
    REQUIRE(same_bits(alone.floats(), row));
  }
}

TEST_CASE("cuda linear: plain numbers, on every kind of device, under every schedule") {
  LM_CUDA(any);
  for_each_device_kind([] {
    const auto cuda = reserved(open_cuda(), 1280);
    for_each_schedule([&] {
      Random random(215);
      for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
        for (const Shape s : {Shape{5, 6, 6},
                              {1, 5, 8},
                              {1, 33, 1000},
                              {2, 67, 301},
                              {8, 40, 264},
                              {16, 19, 304},
                              {9, 130, 72}}) {
          check_linear(*cuda, type, s, random);
        }
      }
    });
    Random random(216);
    // More pairs of tiles than two for each multiprocessor of any device.
    check_linear(*cuda, DType::bf16, {11, 10000, 16}, random);
    check_linear(*cuda, DType::f16, {3, 20, 1280}, random);
  });
}

TEST_CASE("cuda linear: halves that are not numbers, or large, show") {
  LM_CUDA(cuda);
  require_ok(cuda->reserve(test_limits()));
  const int64_t m = 20, k = 64;
  TestWeight host{DType::f16, {1, 1, m, k}, std::vector<std::byte>(size_t(m * k * 2)), {}};
  for (size_t i = 1; i < host.bytes.size(); i += 2) host.bytes[i] = std::byte{0x3c};  // all 1
  const LoadedWeight weight = require_ok(cuda->load_weight(host.host(), WeightUse::matrix));
  std::vector<float> x(size_t(4 * k), 1.0f);
  x[3] = std::nanf("");
  x[size_t(k)] = 3e38f;
  x[size_t(2 * k)] = 1e-37f;
  Guarded in(*cuda, {1, 1, 4, k}, x), out(*cuda, {1, 1, 4, m});
  cuda->linear({.x = in, .weight = weight.tensor, .out = out});
  const std::vector<float> y = out.floats();
  CHECK(std::isnan(y[0]));
  CHECK(y[size_t(m)] == doctest::Approx(3e38));
  CHECK(y[size_t(2 * m)] == 63);
  CHECK(y[size_t(3 * m)] == 64);
}

TEST_CASE("cuda linear: the order of the threads changes nothing") {
  const auto cuda = reserved(open_cuda(), 0);
  if (cuda == nullptr) LM_SKIP("no CUDA device");
  for (const DType type : {DType::q4_0, DType::q6_K, DType::f16}) {
    Random random(212);
    const Shape s{2, 40, 512};
    const TestWeight host = random_weight(type, {1, 1, s.m, s.k}, random);
    const std::vector<float> x = random_floats(s.n * s.k, random);
    std::vector<float> first;
    for_each_schedule([&] {
      const LoadedWeight weight = require_ok(cuda->load_weight(host.host(), WeightUse::matrix));
      Guarded tx(*cuda, {1, 1, s.n, s.k}, x), out(*cuda, {1, 1, s.n, s.m});
      cuda->linear({.x = tx, .weight = weight.tensor, .out = out});
      if (first.empty()) first = out.floats();
      REQUIRE(same_bits(out.floats(), first));
    });
  }
}

TEST_CASE("cuda linear: a row's bits do not depend on its company") {
  LM_CUDA(any);
  for_each_device_kind([] {
    const auto cuda = reserved(open_cuda(), 1280);
    for (const DType type : {DType::q4_0, DType::q4_K, DType::q2_K, DType::q6_K, DType::f16,
                             DType::bf16, DType::f32, DType::iq3_S}) {
      INFO(std::string(dtype_name(type)));
      Random random(213);
      const Shape s{16, 33, 1280};
      const TestWeight host = random_weight(type, {1, 1, s.m, s.k}, random);
      const LoadedWeight weight = require_ok(cuda->load_weight(host.host(), WeightUse::matrix));
      Guarded x(*cuda, {1, 1, s.n, s.k}, random_floats(s.n * s.k, random));
      Guarded all(*cuda, {1, 1, s.n, s.m}), alone(*cuda, {1, 1, s.n, s.m});
      cuda->linear({.x = x, .weight = weight.tensor, .out = all});
      int64_t row = 0;
      for (const int64_t n : {1, 2, 4, 9}) {
        cuda->linear(
            {.x = row_range(x, row, n), .weight = weight.tensor, .out = row_range(alone, row, n)});
        row += n;
      }
      REQUIRE(same_bits(all.floats(), alone.floats()));
    }
  });
}

TEST_CASE("cuda linear: the fused forms are the plain ones") {
  const auto cuda = reserved(open_cuda(), 2560);
  if (cuda == nullptr) LM_SKIP("no CUDA device");
  // Rows whose norms are summed by 1024, 256 and 32 threads; rows that the matrix kernels quantize
  // for themselves and (10 x 2048) too many for that.
  struct Case {
    DType type;
    int64_t n, k;
  };
  for (const auto& [type, n, k] :
       {Case{DType::q4_0, 1, 2560}, Case{DType::q4_K, 10, 2048}, Case{DType::i4g64, 3, 384},
        Case{DType::f16, 2, 768}, Case{DType::bf16, 10, 288}}) {
    INFO(std::string(dtype_name(type)), " n ", n, " k ", k);
    Random random(214);
    const int64_t m = 40;
    const auto load = [&](DType t, int64_t rows) {
      return require_ok(
          cuda->load_weight(random_weight(t, {1, 1, rows, k}, random).host(), WeightUse::matrix));
    };
    // Five of a type do not fit in one launch; another type lies between them.
    std::vector<LoadedWeight> weights;
    for (const int64_t rows : {m, m, int64_t{16}, int64_t{70}, int64_t{3}})
      weights.push_back(load(type, rows));
    weights.insert(weights.begin() + 2, load(DType::q8_0, 24));
    Guarded x(*cuda, {1, 1, n, k}, random_floats(n * k, random)),
        norm_weight(*cuda, {1, 1, 1, k}, random_floats(k, random)), normed(*cuda, {1, 1, n, k}),
        bias(*cuda, {1, 1, 1, m}, random_floats(m, random));
    const RmsNorm norm{.x = x, .weight = norm_weight, .out = normed, .eps = 1e-5f};
    std::vector<std::unique_ptr<Guarded>> outs;
    const auto linears = [&] {
      std::vector<Linear> ops;
      for (const LoadedWeight& w : weights) {
        outs.push_back(
            std::make_unique<Guarded>(*cuda, std::array<int64_t, 4>{1, 1, n, w.tensor.rows()}));
        ops.push_back({.x = normed, .weight = w.tensor, .out = *outs.back()});
      }
      ops[0].bias = bias;
      return ops;
    };
    const std::vector<Linear> fused = linears(), plain = linears();
    cuda->norm_linears(norm, fused);
    const std::vector<float> fused_norm = normed.floats();
    cuda->Backend::norm_linears(norm, plain);
    REQUIRE(same_bits(fused_norm, normed.floats()));
    for (size_t i = 0; i < fused.size(); ++i) {
      REQUIRE(outs[i]->guards_intact());
      REQUIRE(same_bits(outs[i]->floats(), outs[i + fused.size()]->floats()));
    }
    // In place, as before a model's last matrix.
    Guarded alone(*cuda, {1, 1, n, k}, x.floats());
    Linear last = fused[0];
    last.x = alone;
    cuda->norm_linears({.x = alone, .weight = norm_weight, .out = alone, .eps = 1e-5f}, {&last, 1});
    REQUIRE(same_bits(alone.floats(), fused_norm));
    REQUIRE(same_bits(outs[0]->floats(), outs[fused.size()]->floats()));
    const auto glu = [&](const std::vector<Linear>& ops, Act act) {
      return Glu{.gate = ops[0].out, .up = ops[1].out, .out = ops[0].out, .act = act, .limit = 2};
    };
    for (const Act act : {Act::silu, Act::gelu_tanh, Act::gelu_erf, Act::swiglu_oai}) {
      cuda->norm_glu(norm, fused[0], fused[1], glu(fused, act));
      cuda->Backend::norm_glu(norm, plain[0], plain[1], glu(plain, act));
      REQUIRE(outs[0]->guards_intact());
      REQUIRE(same_bits(outs[0]->floats(), outs[fused.size()]->floats()));
    }
  }
}
