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

// Far beyond what any block can hold, and safe to square and to add up.
constexpr float kLargest = 1e12f;
// Relative to the largest weight of the block: no number is entirely free.
constexpr float kLeastWeight = 1e-6f;

// NaN becomes 0.
float clamped(float v, float lo, float hi) {
  return std::isnan(v) ? 0.0f : std::clamp(v, lo, hi);
}

// weights = the importance of a block's numbers relative to the largest. False when nothing is
// important.
bool relative_weights(std::span<const float> importance, std::span<float> weights) {
  constexpr float kMax = std::numeric_limits<float>::max();
  float largest = 0;
  for (const float v : importance) largest = std::max(largest, clamped(v, 0, kMax));
  if (largest == 0) return false;
  for (size_t j = 0; j < weights.size(); ++j) {
    weights[j] = std::max(clamped(importance[j], 0, kMax) / largest, kLeastWeight);
  }
  return true;
}

using RowEncoder = void (*)(std::span<const float> x, std::span<const float> importance,
                            EncodePath path, std::byte* dst);

template <class Block>
void encode_blocks(std::span<const float> x, std::span<const float> importance, EncodePath path,
                   std::byte* dst) {
  constexpr size_t kElems = size_t(Block::kElems);
  std::array<float, kElems> values;
  std::array<float, kElems> weights;
  for (size_t first = 0; first < x.size(); first += kElems) {
    for (size_t j = 0; j < kElems; ++j) values[j] = clamped(x[first + j], -kLargest, kLargest);
    const bool weighted =
        !importance.empty() && relative_weights(importance.subspan(first, kElems), weights);
    Block block;
    encode_block(values.data(), weighted ? weights.data() : nullptr, path, block);
    std::memcpy(dst, &block, sizeof block);
    dst += sizeof block;
  }
}

template <uint16_t (*kNarrow)(float)>
void encode_halves(std::span<const float> x, std::span<const float>, EncodePath, std::byte* dst) {
  for (size_t i = 0; i < x.size(); ++i) {
    const uint16_t half = kNarrow(x[i]);
    std::memcpy(dst + 2 * i, &half, sizeof half);
  }
}

void copy_floats(std::span<const float> x, std::span<const float>, EncodePath, std::byte* dst) {
  std::memcpy(dst, x.data(), x.size_bytes());
}

struct Row {
  DType type;
  RowEncoder encoder;
};

constexpr Row kTable[] = {
    {DType::f32, copy_floats},
    {DType::f16, encode_halves<f32_to_f16>},
    {DType::bf16, encode_halves<f32_to_bf16>},
    {DType::q4_0, encode_blocks<BlockQ4_0>},
    {DType::q4_1, encode_blocks<BlockQ4_1>},
    {DType::q5_0, encode_blocks<BlockQ5_0>},
    {DType::q5_1, encode_blocks<BlockQ5_1>},
    {DType::q8_0, encode_blocks<BlockQ8_0>},
    {DType::q2_K, encode_blocks<BlockQ2_K>},
    {DType::q3_K, encode_blocks<BlockQ3_K>},
    {DType::q4_K, encode_blocks<BlockQ4_K>},
    {DType::q5_K, encode_blocks<BlockQ5_K>},
    {DType::q6_K, encode_blocks<BlockQ6_K>},
    {DType::iq4_NL, encode_blocks<BlockIQ4_NL>},
    {DType::iq4_XS, encode_blocks<BlockIQ4_XS>},
    {DType::tq1_0, encode_blocks<BlockTQ1_0>},
    {DType::tq2_0, encode_blocks<BlockTQ2_0>},
    {DType::mxfp4, encode_blocks<BlockMXFP4>},
    {DType::i4g32, encode_blocks<BlockI4G<32>>},
    {DType::i4g64, encode_blocks<BlockI4G<64>>},
    {DType::i4g128, encode_blocks<BlockI4G<128>>},
};

RowEncoder row_encoder(DType type) {
  for (const Row& row : kTable) {
    if (row.type == type) return row.encoder;
  }
  return nullptr;
}

}  // namespace

bool can_encode(DType type) {
  return row_encoder(type) != nullptr;
}

void encode(DType type, std::span<const float> x, std::byte* dst, std::span<const float> importance,
            EncodePath path) {
  const RowEncoder row = row_encoder(type);
  LM_CHECK(row != nullptr);
  LM_CHECK(x.size() % size_t(dtype_info(type).block_elems) == 0);
  LM_CHECK(importance.empty() || importance.size() == x.size());
  if (!x.empty()) row(x, importance, path, dst);
}

}  // namespace lm
