// The emulation and a device are twins: the same kernels leave the same bits on both. The hashes
// are the emulation's, which tests/simt derives from definitions; no device has confirmed them yet.
#include "tests/cuda/twins.h"

#include <cmath>
#include <span>
#include <string_view>

#include "engine/core/hash.h"
#include "tests/cuda/rig.h"
#include "tests/support/support.h"

using namespace lm;
using namespace lm::test;

namespace {

struct Recorded {
  std::string_view name;
  uint64_t hash;
};
constexpr Recorded kRecorded[] = {
    {"halves to floats", 0x8267b6b9eeec74c7u},
    {"floats to halves", 0xb966a990abc9196du},
    {"arithmetic of halves", 0xdc7210d9e2510863u},
    {"arithmetic of floats", 0xb40bc241cd01a2e0u},
    {"integers", 0x3295fc6ca76b1f95u},
    {"shuffles", 0x024eec6d956e0fa3u},
    {"products of bytes", 0x9f0bf29a1471a568u},
    {"products of halves", 0x00d0537c3c02ed18u},
    {"copies and matrices", 0xf443b34ebecc9e0bu},
    {"atomics", 0x649824b78fb7af92u},
    {"products of tf32", 0x12a20ec74aa5a158u},
};

// How far y lies from the exact value, in units of the last place of f32 there.
double ulps(float y, double exact) {
  const float near = std::fabs(float(exact));
  const double unit = double(std::nextafterf(near, HUGE_VALF)) - double(near);
  return std::fabs(double(y) - exact) / unit;
}

}  // namespace

TEST_CASE("instructions and built-in functions do on the device what the emulation says") {
  for_each_schedule([] {
    const std::vector<Twin> twins = run_twins();
    if (twins.empty()) LM_SKIP("no CUDA device");
    REQUIRE(twins.size() <= std::size(kRecorded));
    REQUIRE(twins.size() + 1 >= std::size(kRecorded));  // the last one is not on Turing
    for (size_t i = 0; i < twins.size(); ++i) {
      CAPTURE(twins[i].name);
      CHECK(twins[i].name == kRecorded[i].name);
      CHECK(!twins[i].words.empty());
      CHECK(hash64(std::as_bytes(std::span(twins[i].words))) == kRecorded[i].hash);
    }
  });
}

// CUDA C++ Programming Guide, "Mathematical Functions": at most 2 ulp for each of these.
TEST_CASE("transcendental functions are as exact as the CUDA manual says") {
  if (run_twins().empty()) LM_SKIP("no CUDA device");
  for (const Curve& curve : run_curves()) {
    CAPTURE(curve.name);
    REQUIRE(curve.y.size() == curve.x.size());
    double worst = 0;
    for (size_t i = 0; i < curve.x.size(); ++i) {
      worst = std::max(worst, ulps(curve.y[i], curve.reference(double(curve.x[i]))));
    }
    CAPTURE(worst);
    CHECK(worst <= 2.5);  // half a unit of rounding comes on top
  }
}
