// quant/decode.cpp — the table from format to decoder, and plain numbers.
#include "quant/decode.h"

#include <cstring>
#include <iterator>

#include "engine/core/check.h"
#include "quant/codebooks.h"
#include "quant/decode_block.h"
#include "quant/half.h"

namespace lm {
namespace {

constexpr Codebooks kBooks = {.iq4 = kIq4Values,
                              .mxfp4_doubled = kMxfp4DoubledValues,
                              .iq1 = &kIq1Grid,
                              .iq2_xxs = &kIq2XxsGrid,
                              .iq2_xs = &kIq2XsGrid,
                              .iq2_s = &kIq2SGrid,
                              .iq3_xxs = &kIq3XxsGrid,
                              .iq3_s = &kIq3SGrid};

// A row of n numbers.
using RowDecoder = void (*)(const std::byte* src, float* out, int64_t n);

template <class Block>
void decode_blocks(const std::byte* src, float* out, int64_t n) {
  for (int64_t i = 0; i < n / Block::kElems; ++i) {
    Block block;
    std::memcpy(&block, src + i * int64_t(sizeof block), sizeof block);
    for (int j = 0; j < Block::kElems / 8; ++j) {
      decode_eight_of(block, j, kBooks, out + i * Block::kElems + 8 * j);
    }
  }
}

template <class Number>
void decode_numbers(const std::byte* src, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    Number number;
    std::memcpy(&number, src + i * int64_t(sizeof number), sizeof number);
    out[i] = static_cast<float>(number);
  }
}

template <float (*kWiden)(uint16_t)>
void decode_halves(const std::byte* src, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    uint16_t half;
    std::memcpy(&half, src + 2 * i, sizeof half);
    out[i] = kWiden(half);
  }
}

void copy_floats(const std::byte* src, float* out, int64_t n) {
  std::memcpy(out, src, size_t(n) * sizeof(float));
}

struct Row {
  DType type;
  RowDecoder decoder;
};

constexpr Row kTable[] = {
    {DType::f32, copy_floats},
    {DType::f16, decode_halves<f16_to_f32>},
    {DType::bf16, decode_halves<bf16_to_f32>},
    {DType::f64, decode_numbers<double>},
    {DType::i8, decode_numbers<int8_t>},
    {DType::i16, decode_numbers<int16_t>},
    {DType::i32, decode_numbers<int32_t>},
    {DType::i64, decode_numbers<int64_t>},
    {DType::q4_0, decode_blocks<BlockQ4_0>},
    {DType::q4_1, decode_blocks<BlockQ4_1>},
    {DType::q5_0, decode_blocks<BlockQ5_0>},
    {DType::q5_1, decode_blocks<BlockQ5_1>},
    {DType::q8_0, decode_blocks<BlockQ8_0>},
    {DType::q8_1, decode_blocks<BlockQ8_1>},
    {DType::q2_K, decode_blocks<BlockQ2_K>},
    {DType::q3_K, decode_blocks<BlockQ3_K>},
    {DType::q4_K, decode_blocks<BlockQ4_K>},
    {DType::q5_K, decode_blocks<BlockQ5_K>},
    {DType::q6_K, decode_blocks<BlockQ6_K>},
    {DType::q8_K, decode_blocks<BlockQ8_K>},
    {DType::iq1_S, decode_blocks<BlockIQ1_S>},
    {DType::iq1_M, decode_blocks<BlockIQ1_M>},
    {DType::iq2_XXS, decode_blocks<BlockIQ2_XXS>},
    {DType::iq2_XS, decode_blocks<BlockIQ2_XS>},
    {DType::iq2_S, decode_blocks<BlockIQ2_S>},
    {DType::iq3_XXS, decode_blocks<BlockIQ3_XXS>},
    {DType::iq3_S, decode_blocks<BlockIQ3_S>},
    {DType::iq4_NL, decode_blocks<BlockIQ4_NL>},
    {DType::iq4_XS, decode_blocks<BlockIQ4_XS>},
    {DType::tq1_0, decode_blocks<BlockTQ1_0>},
    {DType::tq2_0, decode_blocks<BlockTQ2_0>},
    {DType::mxfp4, decode_blocks<BlockMXFP4>},
    {DType::i4g32, decode_blocks<BlockI4G<32>>},
    {DType::i4g64, decode_blocks<BlockI4G<64>>},
    {DType::i4g128, decode_blocks<BlockI4G<128>>},
};

constexpr bool in_order() {
  for (int i = 0; i < kDTypeCount; ++i) {
    if (kTable[i].type != DType(i)) return false;
  }
  return true;
}
static_assert(std::size(kTable) == kDTypeCount && in_order(), "a row for each DType, in order");

}  // namespace

void decode(DType type, const std::byte* src, float* out, int64_t n) {
  LM_CHECK(n >= 0 && n % dtype_info(type).block_elems == 0);
  if (n > 0) kTable[size_t(type)].decoder(src, out, n);
}

}  // namespace lm
