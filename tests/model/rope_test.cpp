// Tables of rotary frequencies against numbers worked out by hand from the papers' formulas.
#include "engine/model/rope.h"

#include <cmath>

#include "tests/support/support.h"

namespace lm::test {
namespace {

using doctest::Approx;
using Scaling = RopeSpec::Scaling;

RopeSpec spec(int dims, float theta, Scaling scaling = Scaling::none, float factor = 1) {
  return {.dims = dims, .theta = theta, .scaling = scaling, .factor = factor};
}

TEST_CASE("plain and linear") {
  const RopeTable plain = make_rope_table(spec(8, 10000), {});
  CHECK(plain.inv_freq == std::vector<float>{1, 0.1f, 0.01f, 0.001f});
  CHECK(plain.magnitude == 1);
  const RopeTable linear = make_rope_table(spec(8, 10000, Scaling::linear, 4), {});
  CHECK(linear.inv_freq == std::vector<float>{0.25f, 0.025f, 0.0025f, 0.00025f});
}

TEST_CASE("the file's divisors") {
  const float divisors[] = {1, 2, 8};
  const RopeTable table = make_rope_table(spec(6, 1000, Scaling::llama3), divisors);
  CHECK(table.inv_freq[0] == 1);
  CHECK(table.inv_freq[1] == Approx(0.1 / 2));
  CHECK(table.inv_freq[2] == Approx(0.01 / 8));
}

// gpt-oss: 64 dimensions, theta 150000, 4096 positions stretched 32 times. The pair that turns 32
// times over 4096 positions is 8.093, the one that turns once 17.398.
TEST_CASE("YaRN of gpt-oss") {
  RopeSpec yarn = spec(64, 150000, Scaling::yarn, 32);
  yarn.n_ctx_original = 4096;
  yarn.yarn_truncate = false;
  const RopeTable table = make_rope_table(yarn, {});
  CHECK(table.magnitude == Approx(0.1 * std::log(32.0) + 1));
  const auto plain = [](int pair) { return std::pow(150000.0, -pair / 32.0); };
  CHECK(table.inv_freq[8] == Approx(plain(8)).epsilon(1e-6));
  CHECK(table.inv_freq[18] == Approx(plain(18) / 32).epsilon(1e-6));
  const double mix = (12 - 8.0928) / (17.3980 - 8.0928);
  CHECK(table.inv_freq[12] == Approx(plain(12) * (1 - mix) + plain(12) / 32 * mix).epsilon(1e-4));

  yarn.yarn_truncate = true;  // from 8 to 18
  const double whole = (12 - 8.0) / (18 - 8);
  CHECK(make_rope_table(yarn, {}).inv_freq[12] ==
        Approx(plain(12) * (1 - whole) + plain(12) / 32 * whole).epsilon(1e-6));

  yarn.attn_factor = 2;
  CHECK(make_rope_table(yarn, {}).magnitude == Approx(2 * (0.1 * std::log(32.0) + 1)));
}

// Phi-3 mini 128k: 4096 positions made into 131072; its converted files say 1.1902.
TEST_CASE("LongRoPE of Phi-3") {
  RopeSpec longrope = spec(4, 10000, Scaling::longrope, 32);
  longrope.n_ctx_original = 4096;
  const float divisors[] = {1, 4};
  const RopeTable table = make_rope_table(longrope, divisors);
  CHECK(table.magnitude == Approx(1.190238).epsilon(1e-6));
  CHECK(table.inv_freq[1] == Approx(0.01 / 4));
  longrope.attn_factor = 1.5f;
  CHECK(make_rope_table(longrope, divisors).magnitude == 1.5f);
}

}  // namespace
}  // namespace lm::test
