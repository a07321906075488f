// quant/decode.cpp — the table from format to decoder, plain numbers, and the blocks of 32.
// Every product and sum is rounded where the reference (ggml-quants.c of ggml) rounds it.
#include "quant/decode.h"

#include <bit>
#include <cstring>

#include "engine/core/check.h"
#include "quant/codebooks.h"
#include "quant/decode_block.h"
#include "quant/half.h"

namespace lm {
namespace {

void decode_block(const BlockQ4_0& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int j = 0; j < 16; ++j) {
    out[j] = float((block.qs[j] & 15) - 8) * d;
    out[j + 16] = float((block.qs[j] >> 4) - 8) * d;
  }
}

void decode_block(const BlockQ4_1& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float m = f16_to_f32(block.m);
  for (int j = 0; j < 16; ++j) {
    out[j] = float(block.qs[j] & 15) * d + m;
    out[j + 16] = float(block.qs[j] >> 4) * d + m;
  }
}

// Bit 4 of number j of a Q5_0 or Q5_1 block, in its place.
template <class Block>
int fifth_bit(const Block& block, int j) {
  return (block.qh[j / 8] >> (j % 8) & 1) << 4;
}

void decode_block(const BlockQ5_0& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int j = 0; j < 16; ++j) {
    out[j] = float(((block.qs[j] & 15) | fifth_bit(block, j)) - 16) * d;
    out[j + 16] = float(((block.qs[j] >> 4) | fifth_bit(block, j + 16)) - 16) * d;
  }
}

void decode_block(const BlockQ5_1& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float m = f16_to_f32(block.m);
  for (int j = 0; j < 16; ++j) {
    out[j] = float((block.qs[j] & 15) | fifth_bit(block, j)) * d + m;
    out[j + 16] = float((block.qs[j] >> 4) | fifth_bit(block, j + 16)) * d + m;
  }
}

void decode_block(const BlockQ8_0& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int j = 0; j < 32; ++j) out[j] = float(block.qs[j]) * d;
}

void decode_block(const BlockQ8_1& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int j = 0; j < 32; ++j) out[j] = float(block.qs[j]) * d;
}

void decode_block(const BlockMXFP4& block, float* out) {
  // Half of 2^(e - 127), as the code book holds doubled values; subnormal in f32 for e < 2.
  // e = 255 is NaN in the specification, but the field decodes it as 2^128.
  const uint32_t half_scale = block.e < 2 ? 0x00200000u << block.e : uint32_t(block.e - 1) << 23;
  const float d = std::bit_cast<float>(half_scale);
  for (int j = 0; j < 16; ++j) {
    out[j] = float(kMxfp4DoubledValues[block.qs[j] & 15]) * d;
    out[j + 16] = float(kMxfp4DoubledValues[block.qs[j] >> 4]) * d;
  }
}

void decode_block(const BlockIQ4_NL& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int j = 0; j < 16; ++j) {
    out[j] = d * float(kIq4Values[block.qs[j] & 15]);
    out[j + 16] = d * float(kIq4Values[block.qs[j] >> 4]);
  }
}

// A row of n numbers.
using RowDecoder = void (*)(const std::byte* src, float* out, int64_t n);

template <class Block>
void decode_blocks(const std::byte* src, float* out, int64_t n) {
  for (int64_t i = 0; i < n / Block::kElems; ++i) {
    Block block;
    std::memcpy(&block, src + i * int64_t(sizeof block), sizeof block);
    decode_block(block, out + i * Block::kElems);
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

RowDecoder row_decoder(DType type) {
  switch (type) {
    case DType::f32:
      return copy_floats;
    case DType::f16:
      return decode_halves<f16_to_f32>;
    case DType::bf16:
      return decode_halves<bf16_to_f32>;
    case DType::f64:
      return decode_numbers<double>;
    case DType::i8:
      return decode_numbers<int8_t>;
    case DType::i16:
      return decode_numbers<int16_t>;
    case DType::i32:
      return decode_numbers<int32_t>;
    case DType::i64:
      return decode_numbers<int64_t>;
    case DType::q4_0:
      return decode_blocks<BlockQ4_0>;
    case DType::q4_1:
      return decode_blocks<BlockQ4_1>;
    case DType::q5_0:
      return decode_blocks<BlockQ5_0>;
    case DType::q5_1:
      return decode_blocks<BlockQ5_1>;
    case DType::q8_0:
      return decode_blocks<BlockQ8_0>;
    case DType::q8_1:
      return decode_blocks<BlockQ8_1>;
    case DType::q2_K:
      return decode_blocks<BlockQ2_K>;
    case DType::q3_K:
      return decode_blocks<BlockQ3_K>;
    case DType::q4_K:
      return decode_blocks<BlockQ4_K>;
    case DType::q5_K:
      return decode_blocks<BlockQ5_K>;
    case DType::q6_K:
      return decode_blocks<BlockQ6_K>;
    case DType::q8_K:
      return decode_blocks<BlockQ8_K>;
    case DType::iq1_S:
      return decode_blocks<BlockIQ1_S>;
    case DType::iq1_M:
      return decode_blocks<BlockIQ1_M>;
    case DType::iq2_XXS:
      return decode_blocks<BlockIQ2_XXS>;
    case DType::iq2_XS:
      return decode_blocks<BlockIQ2_XS>;
    case DType::iq2_S:
      return decode_blocks<BlockIQ2_S>;
    case DType::iq3_XXS:
      return decode_blocks<BlockIQ3_XXS>;
    case DType::iq3_S:
      return decode_blocks<BlockIQ3_S>;
    case DType::iq4_NL:
      return decode_blocks<BlockIQ4_NL>;
    case DType::iq4_XS:
      return decode_blocks<BlockIQ4_XS>;
    case DType::tq1_0:
      return decode_blocks<BlockTQ1_0>;
    case DType::tq2_0:
      return decode_blocks<BlockTQ2_0>;
    case DType::mxfp4:
      return decode_blocks<BlockMXFP4>;
    case DType::count_:
      break;
  }
  return nullptr;
}

}  // namespace

void decode(DType type, const std::byte* src, float* out, int64_t n) {
  const RowDecoder row = row_decoder(type);
  LM_CHECK(row != nullptr);
  LM_CHECK(n >= 0 && n % dtype_info(type).block_elems == 0);
  if (n > 0) row(src, out, n);
}

}  // namespace lm
