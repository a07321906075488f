// engine/core/philox.h — random numbers as a function of a counter: no state, no order of calls,
// on any device.
// Philox4x32-10 of Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3"
// (SC 2011).
#pragma once
#include <array>
#include <cstdint>

namespace lm {

using PhiloxBlock = std::array<uint32_t, 4>;

constexpr PhiloxBlock philox4x32(PhiloxBlock counter, std::array<uint32_t, 2> key) {
  constexpr uint64_t kMul0 = 0xD2511F53, kMul1 = 0xCD9E8D57;  // the paper's multipliers
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t a = kMul0 * counter[0], b = kMul1 * counter[2];
    counter = {uint32_t(b >> 32) ^ counter[1] ^ key[0], uint32_t(b),
               uint32_t(a >> 32) ^ counter[3] ^ key[1], uint32_t(a)};
    key = {key[0] + kWeyl0, key[1] + kWeyl1};
  }
  return counter;
}

// Independent uses of one (seed, position).
enum class NoiseStream : uint32_t { token = 0, xtc = 1 };

// A number in (0, 1), uniform on a grid of 2^-52; `index` is the token id in the token stream.
// The counter is (index, stream, position), the key is the seed.
constexpr double uniform_noise(uint64_t seed, NoiseStream stream, uint64_t position,
                               uint32_t index) {
  const PhiloxBlock block =
      philox4x32({index, uint32_t(stream), uint32_t(position), uint32_t(position >> 32)},
                 {uint32_t(seed), uint32_t(seed >> 32)});
  const uint64_t bits = (uint64_t(block[1]) << 32 | block[0]) >> 12;
  return (double(bits) + 0.5) * 0x1p-52;
}

}  // namespace lm
