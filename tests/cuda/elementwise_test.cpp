// The row-wise operations and the routing of experts: what copies and adds is exact, the rest is
// compared with the CPU backend's scalar table, whose own error f64 bounds (tests/cpu).
#include <cmath>

#include "tests/cpu/harness.h"
#include "tests/cuda/rig.h"

using namespace lm;
using namespace lm::test;

namespace {

constexpr int64_t kSizes[] = {1, 7, 33, 128, 600, 1030, 2500};

// |got - expected| <= bound(i), for every i.
template <class Bound>
void require_close(const std::vector<float>& got, const std::vector<float>& expected,
                   const Bound& bound) {
  REQUIRE(got.size() == expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    REQUIRE(std::abs(double(got[i]) - double(expected[i])) <= bound(i));
  }
}

std::vector<float> frequencies(int64_t n) {
  std::vector<float> freqs;
  for (int64_t i = 0; i < n; ++i) freqs.push_back(float(std::pow(1e4, -double(i) / double(n))));
  return freqs;
}

}  // namespace

TEST_CASE("cuda rms_norm: in place and not, like the CPU's") {
  LM_CUDA(cuda);
  const auto cpu = open_cpu("scalar", 1);
  for_each_schedule([&] {
    Random random(121);
    for (const int64_t cols : kSizes) {
      const int64_t rows = 5;
      const std::vector<float> x = random_floats(rows * cols, random),
                               w = random_floats(cols, random);
      const auto normed = [&](Backend& backend, bool in_place) {
        Guarded tx(backend, {1, 1, rows, cols}, x), tw(backend, {1, 1, 1, cols}, w);
        Guarded other(backend, {1, 1, rows, cols});
        Guarded& out = in_place ? tx : other;
        backend.rms_norm({.x = tx, .weight = tw, .out = out, .eps = 1e-5f});
        REQUIRE(out.guards_intact());
        return out.floats();
      };
      const std::vector<float> got = normed(*cuda, false), expected = normed(*cpu, false);
      REQUIRE(same_bits(got, normed(*cuda, true)));
      // Either is within this of the truth: a mean of positive terms, halved by the root, and some
      // operations more.
      const double bound = 2 * (double(cols + 3) / 2 + 5) * kRounding;
      require_close(got, expected, [&](size_t i) { return bound * std::abs(double(expected[i])); });
    }
  });
}

TEST_CASE("cuda glu: every activation over the whole range, like the CPU's; NaN stays NaN") {
  LM_CUDA(cuda);
  const auto cpu = open_cpu("scalar", 1);
  for_each_schedule([&] {
    Random random(122);
    for (const Act act : {Act::silu, Act::gelu_tanh, Act::gelu_erf, Act::swiglu_oai}) {
      for (const int64_t cols : kSizes) {
        std::vector<float> g = random_floats(2 * cols, random, 4),
                           u = random_floats(2 * cols, random, 4);
        g[0] = -200;  // exp overflows, tanh and erf are ±1
        g.back() = 90;
        const auto activated = [&](Backend& backend) {
          Guarded tg(backend, {1, 1, 2, cols}, g), tu(backend, {1, 1, 2, cols}, u);
          backend.glu({.gate = tg, .up = tu, .out = tg, .act = act, .limit = 7});
          REQUIRE(tg.guards_intact());
          return tg.floats();
        };
        const std::vector<float> got = activated(*cuda), expected = activated(*cpu);
        require_close(got, expected, [&](size_t i) {
          const double size = std::abs(double(g[i])) * (std::abs(double(u[i])) + 1);
          return 1e-6 * size + 16 * kRounding * std::abs(double(expected[i]));
        });
        if (act == Act::swiglu_oai) continue;
        g[size_t(cols)] = NAN;
        const std::vector<float> spoilt = activated(*cuda);
        for (size_t i = 0; i < g.size(); ++i) REQUIRE(std::isnan(spoilt[i]) == std::isnan(g[i]));
      }
    }
  });
}

TEST_CASE("cuda add, gather_rows, gather_columns: exact") {
  LM_CUDA(cuda);
  for_each_schedule([&] {
    Random random(123);
    for (const int64_t cols : kSizes) {
      const std::vector<float> a = random_floats(4 * cols, random),
                               b = random_floats(4 * cols, random);
      std::vector<int32_t> columns;
      for (int64_t i = 0; i < cols + 5; ++i) columns.push_back(int32_t(random.below(size_t(cols))));
      Guarded ta(*cuda, {1, 1, 4, cols}, a), tb(*cuda, {1, 1, 4, cols}, b);
      Guarded picked(*cuda, {1, 1, 5, cols}), reordered(*cuda, {1, 1, 4, cols + 5});
      const Guarded ids(*cuda, {1, 1, 1, 5}, std::vector<int32_t>{3, 0, -1, 4, 3});
      const Guarded from(*cuda, {1, 1, 1, cols + 5}, columns);
      cuda->gather_rows(ta, ids, picked);
      cuda->gather_columns(ta, from, reordered);
      cuda->add(ta, tb, ta);
      REQUIRE(ta.guards_intact());
      REQUIRE(picked.guards_intact());
      REQUIRE(reordered.guards_intact());
      const std::vector<float> sum = ta.floats(), rows = picked.floats(),
                               moved = reordered.floats();
      for (size_t i = 0; i < a.size(); ++i) REQUIRE(sum[i] == a[i] + b[i]);
      for (size_t i = 0; i < size_t(cols); ++i) {
        const size_t n = size_t(cols);
        REQUIRE(rows[i] == a[3 * n + i]);
        REQUIRE(rows[n + i] == a[i]);
        REQUIRE(rows[2 * n + i] == 0);  // no such row
        REQUIRE(rows[3 * n + i] == 0);
        REQUIRE(rows[4 * n + i] == a[3 * n + i]);
      }
      for (size_t i = 0; i < moved.size(); ++i) {
        const size_t row = i / columns.size();
        REQUIRE(moved[i] == a[row * size_t(cols) + size_t(columns[i % columns.size()])]);
      }
    }
  });
}

TEST_CASE("cuda gather_rows: rows of bytes") {
  LM_CUDA(cuda);
  Guarded x(*cuda, {1, 1, 2, 3}, DType::f16), out(*cuda, {1, 1, 1, 3}, DType::f16);
  x.set(std::vector<uint16_t>{1, 2, 3, 4, 5, 6});
  cuda->gather_rows(x, Guarded(*cuda, {1, 1, 1, 1}, std::vector<int32_t>{1}), out);
  REQUIRE(out.guards_intact());
  REQUIRE(out.get<uint16_t>() == std::vector<uint16_t>{4, 5, 6});
}

TEST_CASE("cuda embed: any type by rows, scaled, exact; an id without a row gives zeros") {
  LM_CUDA(cuda);
  for_each_schedule([&] {
    Random random(124);
    for (int type = 0; type < kDTypeCount; ++type) {
      const DType dtype = DType(type);
      INFO("type ", std::string(dtype_name(dtype)));
      const int64_t cols = dtype_info(dtype).block_elems == 1 ? 301 : 512;
      const TestWeight table = random_weight(dtype, {1, 1, 4, cols}, random);
      const LoadedWeight loaded = require_ok(cuda->load_weight(table.host(), WeightUse::rows));
      const Guarded ids(*cuda, {1, 1, 1, 4}, std::vector<int32_t>{3, 4, 1, -1});
      Guarded out(*cuda, {1, 1, 4, cols});
      cuda->embed(loaded.tensor, ids, 2.5f, out);
      REQUIRE(out.guards_intact());
      const std::vector<float> got = out.floats();
      for (size_t i = 0; i < size_t(cols); ++i) {
        const size_t n = size_t(cols);
        REQUIRE(got[i] == 2.5f * table.values[3 * n + i]);
        REQUIRE(got[n + i] == 0);
        REQUIRE(got[2 * n + i] == 2.5f * table.values[n + i]);
        REQUIRE(got[3 * n + i] == 0);
      }
    }
  });
}

TEST_CASE("cuda rope: both pairings, partial rotation, far positions, against f64") {
  LM_CUDA(cuda);
  for_each_schedule([&] {
    Random random(125);
    const std::vector<int32_t> positions = {0, 77, 131071};
    const int64_t n = 3, heads = 5, kv_heads = 2;
    for (const bool neox : {false, true}) {
      for (const int64_t head_dim : {6, 34, 128, 160}) {
        for (const int64_t n_freqs : {head_dim / 2, head_dim / 4 + 1}) {
          const std::vector<float> q = random_floats(n * heads * head_dim, random);
          const std::vector<float> k = random_floats(n * kv_heads * head_dim, random);
          const std::vector<float> freqs = frequencies(n_freqs);
          Guarded tq(*cuda, {1, n, heads, head_dim}, q), tk(*cuda, {1, n, kv_heads, head_dim}, k);
          const Guarded tf(*cuda, {1, 1, 1, n_freqs}, freqs), tp(*cuda, {1, 1, 1, n}, positions);
          StepView step;
          step.n_tokens = int(n);
          step.positions = tp;
          cuda->rope({.q = tq, .k = tk, .inv_freq = tf, .neox = neox, .magnitude = 1.25f}, step);
          REQUIRE(tq.guards_intact());
          REQUIRE(tk.guards_intact());
          const auto check = [&](const std::vector<float>& before, const std::vector<float>& got,
                                 int64_t n_heads) {
            for (size_t at = 0; at < got.size(); ++at) {
              const int64_t d = int64_t(at) % head_dim, head = int64_t(at) / head_dim;
              if (d >= 2 * n_freqs) {
                REQUIRE(got[at] == before[at]);
                continue;
              }
              const int64_t pair = neox ? d % n_freqs : d / 2;
              const bool second = neox ? d >= n_freqs : d % 2 == 1;
              const size_t first = size_t(head * head_dim + (neox ? pair : 2 * pair));
              const double x0 = before[first], x1 = before[first + size_t(neox ? n_freqs : 1)];
              const double angle =
                  double(positions[size_t(head / n_heads)]) * double(freqs[size_t(pair)]);
              const double c = 1.25 * std::cos(angle), s = 1.25 * std::sin(angle);
              const double expected = second ? x0 * s + x1 * c : x0 * c - x1 * s;
              // The angle rounded (pi/4 u), its sine and cosine within 2 ulp, times the magnitude,
              // a product and a fused one.
              REQUIRE(std::abs(got[at] - expected) <=
                      8 * kRounding * 1.25 * (std::abs(x0) + std::abs(x1)));
            }
          };
          check(q, tq.floats(), heads);
          check(k, tk.floats(), kv_heads);
        }
      }
    }
  });
}

TEST_CASE("cuda moe_route: scores, ties, bias, normalisation, like the CPU's") {
  LM_CUDA(cuda);
  const auto cpu = open_cpu("scalar", 1);
  for_each_schedule([&] {
    Random random(141);
    const int64_t n = 3;
    for (const int64_t experts : {11, 64, 160}) {
      for (int variant = 0; variant < 8; ++variant) {
        const int top_k = 5;
        std::vector<float> logits = random_floats(n * experts, random);
        logits[4] = logits[7] = logits[9] = 5;  // a tie for the best of row 0
        const std::vector<float> bias = random_floats(experts, random, 0.3f);
        std::vector<int32_t> ids[2];
        std::vector<float> weights[2];
        int which = 0;
        for (Backend* backend : {cuda.get(), cpu.get()}) {
          const Guarded tl(*backend, {1, 1, n, experts}, logits),
              tb(*backend, {1, 1, 1, experts}, bias);
          Guarded ti(*backend, {1, 1, n, top_k}, DType::i32), tw(*backend, {1, 1, n, top_k});
          backend->moe_route({.logits = tl,
                              .ids = ti,
                              .weights = tw,
                              .top_k = top_k,
                              .sigmoid = variant % 2 != 0,
                              .normalise = variant / 2 % 2 != 0,
                              .scale = 2.5f,
                              .bias = variant / 4 != 0 ? Tensor(tb) : Tensor{}});
          REQUIRE(ti.guards_intact());
          REQUIRE(tw.guards_intact());
          ids[which] = ti.ints();
          weights[which++] = tw.floats();
        }
        REQUIRE(ids[0] == ids[1]);
        if (variant < 4) REQUIRE(ids[0][0] == 4);
        if (variant < 4) REQUIRE(ids[0][2] == 9);
        const double bound = 2 * double(2 * experts + 16) * kRounding;
        require_close(weights[0], weights[1],
                      [&](size_t i) { return bound * std::abs(double(weights[1][i])); });
      }
    }
  });
}
