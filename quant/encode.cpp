// quant/encode.cpp — the table from format to encoder, and plain numbers.
// Blocks see finite numbers only: what was not finite is replaced on the way in.
#include "quant/encode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/core/check.h"
#include "quant/encode_block.h"
#include "quant/half.h"

namespace lm {
namespace {

constexpr float kMaxFloat = std::numeric_limits<float>::max();

// NaN is 0; infinities are the largest float.
float finite(float v) {
  return std::isnan(v) ? 0.0f : std::clamp(v, -kMaxFloat, kMaxFloat);
}

using RowEncoder = void (*)(std::span<const float> x, std::span<const float> importance,
                            std::byte* dst);

template <class Block>
void encode_blocks(std::span<const float> x, std::span<const float> importance, std::byte* dst) {
  constexpr size_t kElems = size_t(Block::kElems);
  std::array<float, kElems> values;
  std::array<float, kElems> weights;
  for (size_t i = 0; i < x.size() / kElems; ++i) {
    for (size_t j = 0; j < kElems; ++j) values[j] = finite(x[i * kElems + j]);
    if (!importance.empty()) {
      for (size_t j = 0; j < kElems; ++j) {
        weights[j] = std::max(0.0f, finite(importance[i * kElems + j]));
      }
    }
    Block block;
    encode_block(values.data(), importance.empty() ? nullptr : weights.data(), block);
    std::memcpy(dst + i * sizeof block, &block, sizeof block);
  }
}

template <uint16_t (*kNarrow)(float)>
void encode_halves(std::span<const float> x, std::span<const float>, std::byte* dst) {
  for (size_t i = 0; i < x.size(); ++i) {
    const uint16_t half = kNarrow(x[i]);
    std::memcpy(dst + 2 * i, &half, sizeof half);
  }
}

void copy_floats(std::span<const float> x, std::span<const float>, std::byte* dst) {
  std::memcpy(dst, x.data(), x.size_bytes());
}

RowEncoder row_encoder(DType type) {
  switch (type) {
    case DType::f32:
      return copy_floats;
    case DType::f16:
      return encode_halves<f32_to_f16>;
    case DType::bf16:
      return encode_halves<f32_to_bf16>;
    case DType::q4_0:
      return encode_blocks<BlockQ4_0>;
    case DType::q8_0:
      return encode_blocks<BlockQ8_0>;
    default:
      return nullptr;
  }
}

}  // namespace

bool can_encode(DType type) {
  return row_encoder(type) != nullptr;
}

void encode(DType type, std::span<const float> x, std::byte* dst,
            std::span<const float> importance) {
  const RowEncoder row = row_encoder(type);
  LM_CHECK(row != nullptr);
  LM_CHECK(x.size() % size_t(dtype_info(type).block_elems) == 0);
  LM_CHECK(importance.empty() || importance.size() == x.size());
  if (!x.empty()) row(x, importance, dst);
}

}  // namespace lm
