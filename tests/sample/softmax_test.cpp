#include "engine/sample/softmax.h"

#include <limits>
#include <vector>

#include "tests/support/support.h"

namespace lm {
namespace {

TEST_CASE("exp_nonpositive is within 1e-6 of exp, and 0 where exp is nothing") {
  double worst = 0;
  for (int i = 0; i <= 870000; ++i) {
    const float x = -float(i) * 1e-4f;
    if (x < -87) break;
    const double exact = std::exp(double(x));
    worst = std::max(worst, std::abs(double(exp_nonpositive(x)) - exact) / exact);
  }
  CHECK(worst < 1e-6);
  CHECK(exp_nonpositive(0) == 1);
  CHECK(exp_nonpositive(-88) == 0);
  CHECK(exp_nonpositive(-std::numeric_limits<float>::infinity()) == 0);
  CHECK(exp_nonpositive(std::numeric_limits<float>::quiet_NaN()) == 0);
}

TEST_CASE("largest and log_sum_exp_below agree with double arithmetic at every length") {
  test::Random random(31);
  for (const size_t n : {1, 2, 7, 8, 9, 15, 16, 17, 511, 512, 513, 4099, 130001}) {
    std::vector<float> x(n);
    for (float& value : x) value = 6 * random.normal();
    double max = -INFINITY, sum = 0;
    for (const float value : x) max = std::max(max, double(value));
    for (const float value : x) sum += std::exp(double(value) - max);
    CHECK(double(largest(x)) == max);
    CHECK(double(log_sum_exp_below(x, float(max))) == doctest::Approx(std::log(sum)).epsilon(2e-6));
  }
}

TEST_CASE("what is not a number counts as nothing") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> x = {nan, 1, -inf, 1, nan, nan, nan, nan, nan, nan};
  CHECK(largest(x) == 1);
  CHECK(log_sum_exp_below(x, 1) == doctest::Approx(std::log(2.0)));
  CHECK(largest(std::vector<float>{nan}) == -inf);
}

}  // namespace
}  // namespace lm
