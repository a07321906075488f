// Experts: moe_ffn makes the bits of its parts, one row and one expert at a time, which are tested
// against f64 by themselves (linear_test.cpp).
#include <cmath>

#include "tests/cpu/harness.h"
#include "tests/cuda/rig.h"

using namespace lm;
using namespace lm::test;

namespace {

// A stack of matrices, and each of them by itself.
struct Stack {
  TestWeight host;
  LoadedWeight all;
  std::vector<LoadedWeight> one;
  Stack(Backend& backend, DType type, int64_t e, int64_t m, int64_t k, Random& random)
      : host(random_weight(type, {1, e, m, k}, random)),
        all(require_ok(backend.load_weight(host.host(), WeightUse::matrix))) {
    const size_t bytes = host.bytes.size() / size_t(e);
    for (int64_t i = 0; i < e; ++i) {
      const HostTensor part{
          type, {1, 1, m, k}, std::span(host.bytes).subspan(size_t(i) * bytes, bytes)};
      one.push_back(require_ok(backend.load_weight(part, WeightUse::matrix)));
    }
  }
};

struct Case {
  DType type, down_type;
  Act act;
  int64_t n, e, d, ff, top_k;
  bool biased;
};

struct Experts {
  Stack gate, up, down;
  std::vector<float> gate_bias, up_bias, down_bias;
  Experts(Backend& backend, const Case& c, Random& random)
      : gate(backend, c.type, c.e, c.ff, c.d, random),
        up(backend, c.type, c.e, c.ff, c.d, random),
        down(backend, c.down_type, c.e, c.d, c.ff, random),
        gate_bias(random_floats(c.e * c.ff, random)),
        up_bias(random_floats(c.e * c.ff, random)),
        down_bias(random_floats(c.e * c.d, random)) {}
};

// What expert `e` makes of one row.
std::vector<float> one_expert(Backend& backend, const Case& c, const Experts& w, int32_t e,
                              const std::vector<float>& row) {
  const auto bias = [&](const std::vector<float>& all, int64_t m) {
    return Guarded(backend, {1, 1, 1, m},
                   std::vector<float>(all.begin() + e * m, all.begin() + (e + 1) * m));
  };
  Guarded x(backend, {1, 1, 1, c.d}, row), y(backend, {1, 1, 1, c.d});
  Guarded gate(backend, {1, 1, 1, c.ff}), up(backend, {1, 1, 1, c.ff});
  Guarded bg = bias(w.gate_bias, c.ff), bu = bias(w.up_bias, c.ff), bd = bias(w.down_bias, c.d);
  const auto multiply = [&](Tensor in, const Stack& stack, Tensor b, Tensor out) {
    backend.linear({.x = in,
                    .weight = stack.one[size_t(e)].tensor,
                    .out = out,
                    .bias = c.biased ? b : Tensor{}});
  };
  multiply(x, w.gate, bg, gate);
  multiply(x, w.up, bu, up);
  backend.glu({.gate = gate, .up = up, .out = gate, .act = c.act, .limit = 3});
  multiply(gate, w.down, bd, y);
  return y.floats();
}

void check_moe(Backend& backend, const Case& c, Random& random) {
  INFO(std::string(dtype_name(c.type)), " n ", c.n);
  const Experts w(backend, c, random);
  const std::vector<float> x = random_floats(c.n * c.d, random),
                           before = random_floats(c.n * c.d, random),
                           weights = random_floats(c.n * c.top_k, random);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < c.n; ++i) {
    const auto start = int32_t(random.below(uint64_t(c.e - 1)));  // the last one stays idle
    for (int32_t j = 0; j < c.top_k; ++j) ids.push_back((start + j) % int32_t(c.e - 1));
  }
  Guarded tx(backend, {1, 1, c.n, c.d}, x), tids(backend, {1, 1, c.n, c.top_k}, ids),
      tweights(backend, {1, 1, c.n, c.top_k}, weights), out(backend, {1, 1, c.n, c.d}, before);
  Guarded bg(backend, {1, 1, c.e, c.ff}, w.gate_bias, true),
      bu(backend, {1, 1, c.e, c.ff}, w.up_bias, true),
      bd(backend, {1, 1, c.e, c.d}, w.down_bias, true);
  MoeFfn op{.x = tx,
            .ids = tids,
            .weights = tweights,
            .out = out,
            .gate = w.gate.all.tensor,
            .up = w.up.all.tensor,
            .down = w.down.all.tensor,
            .act = c.act,
            .limit = 3};
  if (c.biased) {
    op.gate_bias = bg;
    op.up_bias = bu;
    op.down_bias = bd;
  }
  backend.moe_ffn(op);
  REQUIRE(out.guards_intact());
  std::vector<float> expected = before;
  for (int64_t i = 0; i < c.n; ++i) {
    const std::vector<float> row(x.begin() + i * c.d, x.begin() + (i + 1) * c.d);
    for (int64_t j = 0; j < c.top_k; ++j) {
      const size_t place = size_t(i * c.top_k + j);
      const std::vector<float> y = one_expert(backend, c, w, ids[place], row);
      for (int64_t k = 0; k < c.d; ++k) {
        float& sum = expected[size_t(i * c.d + k)];
        sum = std::fma(weights[place], y[size_t(k)], sum);
      }
    }
  }
  REQUIRE(same_bits(out.floats(), expected));
}

}  // namespace

TEST_CASE("cuda moe_ffn: every row is the sum of its experts, bit for bit") {
  LM_CUDA(cuda);
  require_ok(cuda->reserve(test_limits()));
  Random random(221);
  check_moe(*cuda, {DType::q4_0, DType::q4_0, Act::silu, 1, 6, 64, 96, 3, false}, random);
  check_moe(*cuda, {DType::q8_0, DType::q4_0, Act::silu, 7, 6, 64, 160, 3, true}, random);
  check_moe(*cuda, {DType::mxfp4, DType::mxfp4, Act::swiglu_oai, 21, 5, 96, 64, 2, true}, random);
  check_moe(*cuda, {DType::q4_K, DType::q6_K, Act::silu, 3, 4, 256, 256, 2, false}, random);
  check_moe(*cuda, {DType::iq3_S, DType::q2_K, Act::silu, 2, 4, 256, 256, 2, true}, random);
  check_moe(*cuda, {DType::f16, DType::iq3_S, Act::gelu_tanh, 1, 3, 24, 256, 2, true}, random);
  check_moe(*cuda, {DType::f16, DType::f16, Act::silu, 23, 4, 40, 72, 2, true}, random);
  check_moe(*cuda, {DType::bf16, DType::q8_0, Act::silu, 6, 4, 24, 96, 3, false}, random);
  check_moe(*cuda, {DType::f32, DType::bf16, Act::silu, 5, 5, 24, 20, 2, true}, random);
}

TEST_CASE("cuda moe_ffn: many rows, and no order of the threads, change a row's bits") {
  LM_CUDA(cuda);
  require_ok(cuda->reserve(test_limits()));
  std::vector<float> first;
  for_each_schedule([&] {
    Random random(222);
    const Case c{DType::q4_0, DType::q8_0, Act::silu, 300, 4, 32, 32, 2, true};
    const Experts w(*cuda, c, random);
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < c.n; ++i) {
      ids.push_back(int32_t(random.below(2)));
      ids.push_back(3);
    }
    const std::vector<float> zero(size_t(c.n * c.d));
    Guarded x(*cuda, {1, 1, c.n, c.d}, random_floats(c.n * c.d, random)),
        tids(*cuda, {1, 1, c.n, c.top_k}, ids),
        weights(*cuda, {1, 1, c.n, c.top_k}, random_floats(c.n * c.top_k, random)),
        all(*cuda, {1, 1, c.n, c.d}, zero), alone(*cuda, {1, 1, c.n, c.d}, zero);
    MoeFfn op{.x = x,
              .ids = tids,
              .weights = weights,
              .out = all,
              .gate = w.gate.all.tensor,
              .up = w.up.all.tensor,
              .down = w.down.all.tensor,
              .act = c.act};
    cuda->moe_ffn(op);
    for (const int64_t row : {0, 17, 255, 256, 299}) {
      op.x = row_range(x, row, 1);
      op.ids = row_range(tids, row, 1);
      op.weights = row_range(weights, row, 1);
      op.out = row_range(alone, row, 1);
      cuda->moe_ffn(op);
      const std::vector<float> together = all.floats(), by_itself = alone.floats();
      for (int64_t i = row * c.d; i < (row + 1) * c.d; ++i) {
        REQUIRE(together[size_t(i)] == by_itself[size_t(i)]);
      }
    }
    if (first.empty()) first = all.floats();
    REQUIRE(same_bits(all.floats(), first));
  });
}
