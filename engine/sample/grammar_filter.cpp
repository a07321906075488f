#include "engine/sample/grammar_filter.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <vector>

namespace lm {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

void keep_few(std::span<float> logits, const std::vector<TokenId>& tokens) {
  std::vector<float> kept;
  kept.reserve(tokens.size());
  for (const TokenId id : tokens)
    kept.push_back(size_t(id) < logits.size() ? logits[size_t(id)] : 0);
  std::fill(logits.begin(), logits.end(), kForbidden);
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (size_t(tokens[i]) < logits.size()) logits[size_t(tokens[i])] = kept[i];
  }
}

// Four bits as masks of four floats.
constexpr auto kLanes = [] {
  std::array<std::array<uint32_t, 4>, 16> lanes{};
  for (uint32_t bits = 0; bits < 16; ++bits) {
    for (uint32_t i = 0; i < 4; ++i) lanes[bits][i] = (bits >> i & 1) != 0 ? ~uint32_t{0} : 0;
  }
  return lanes;
}();

// Of 64 floats those whose bit is 0 become -inf; without branches, which nothing could foresee.
void keep_word(float* logits, uint64_t word) {
  constexpr auto kForbiddenBits = std::bit_cast<uint32_t>(kForbidden);
  for (size_t i = 0; i < 64; i += 4) {
    const std::array<uint32_t, 4>& keep = kLanes[word >> i & 15];
    std::array<uint32_t, 4> x;
    std::memcpy(x.data(), logits + i, sizeof x);
    for (size_t j = 0; j < 4; ++j) x[j] = (x[j] & keep[j]) | (kForbiddenBits & ~keep[j]);
    std::memcpy(logits + i, x.data(), sizeof x);
  }
}

void keep_bits(std::span<float> logits, const std::vector<uint64_t>& bits) {
  const size_t whole = std::min(logits.size() / 64, bits.size());
  for (size_t i = 0; i < whole; ++i) {
    if (bits[i] != ~uint64_t{0}) keep_word(logits.data() + 64 * i, bits[i]);
  }
  for (size_t i = whole * 64; i < logits.size(); ++i) {
    const bool allowed = i / 64 < bits.size() && (bits[i / 64] >> (i % 64) & 1) != 0;
    if (!allowed) logits[i] = kForbidden;
  }
}

}  // namespace

void GrammarFilter::apply(std::span<float> logits) {
  const grammar::TokenSet& allowed = matcher_.allowed();
  if (allowed.bits.empty()) {
    keep_few(logits, allowed.few);
  } else {
    keep_bits(logits, allowed.bits);
  }
}

std::unique_ptr<TokenFilter> GrammarFilter::clone() const {
  return std::make_unique<GrammarFilter>(*this);
}

}  // namespace lm
