// The generator against the published test vectors, and what we make of it.
#include "engine/core/philox.h"

#include <cmath>
#include <vector>

#include "tests/support/support.h"

namespace lm {
namespace {

TEST_CASE("philox4x32-10 gives Random123's known answers") {
  // From the kat_vectors of the Random123 distribution (Salmon et al., SC 2011).
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) ==
        PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("uniform noise lies inside (0, 1) and is flat") {
  constexpr int kBins = 32, kDraws = 64000;
  std::vector<int> bins(kBins, 0);
  for (uint32_t i = 0; i < kDraws; ++i) {
    const double u = uniform_noise(7, NoiseStream::token, 3, i);
    REQUIRE(u > 0);
    REQUIRE(u < 1);
    ++bins[size_t(u * kBins)];
  }
  double chi2 = 0;
  for (const int n : bins) chi2 += std::pow(n - kDraws / kBins, 2) / (double(kDraws) / kBins);
  CHECK(chi2 < 61.1);  // 31 degrees of freedom, p = 0.001
}

TEST_CASE("every part of the key changes the noise") {
  const double u = uniform_noise(7, NoiseStream::token, 3, 5);
  CHECK(u == uniform_noise(7, NoiseStream::token, 3, 5));
  CHECK(u != uniform_noise(8, NoiseStream::token, 3, 5));
  CHECK(u != uniform_noise(7 + (uint64_t{1} << 32), NoiseStream::token, 3, 5));
  CHECK(u != uniform_noise(7, NoiseStream::xtc, 3, 5));
  CHECK(u != uniform_noise(7, NoiseStream::token, 4, 5));
  CHECK(u != uniform_noise(7, NoiseStream::token, 3 + (uint64_t{1} << 32), 5));
  CHECK(u != uniform_noise(7, NoiseStream::token, 3, 6));
}

// No lambda: those are constexpr where they can be, and gcc then draws all the numbers itself (a
// minute, and gigabytes).
constexpr int kPairs = 20000;
template <class First, class Second>
double correlation(First first, Second second) {
  double sum = 0;
  for (uint32_t i = 0; i < kPairs; ++i) sum += (first(i) - 0.5) * (second(i) - 0.5);
  return sum / kPairs * 12;  // variance of a uniform number is 1/12
}

TEST_CASE("noise at neighbouring positions, seeds and ids is uncorrelated") {
  const auto noise = [](uint64_t seed, uint64_t position, uint32_t id) {
    return uniform_noise(seed, NoiseStream::token, position, id);
  };
  const double limit = 4 / std::sqrt(double(kPairs));
  CHECK(std::abs(correlation([&](uint32_t i) { return noise(1, 1, i); },
                             [&](uint32_t i) { return noise(1, 2, i); })) < limit);
  CHECK(std::abs(correlation([&](uint32_t i) { return noise(1, 1, i); },
                             [&](uint32_t i) { return noise(2, 1, i); })) < limit);
  CHECK(std::abs(correlation([&](uint32_t i) { return noise(1, 1, i); },
                             [&](uint32_t i) { return noise(1, 1, i + 1); })) < limit);
  CHECK(std::abs(correlation([&](uint32_t i) { return noise(1, i, 9); },
                             [&](uint32_t i) { return noise(1, i + 1, 9); })) < limit);
}

}  // namespace
}  // namespace lm
