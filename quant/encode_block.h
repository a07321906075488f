// quant/encode_block.h — floats to one block, a function a format. Inside the room only.
#pragma once
#include "quant/blocks.h"
#include "quant/encode.h"

namespace lm {

// block = x[0 .. Block::kElems). x is finite and below 1e13 in magnitude; w is null or holds a
// weight in (0, 1] for each number.
void encode_block(const float* x, const float* w, EncodePath path, BlockQ4_0& block);
void encode_block(const float* x, const float* w, EncodePath path, BlockQ4_1& block);
void encode_block(const float* x, const float* w, EncodePath path, BlockQ5_0& block);
void encode_block(const float* x, const float* w, EncodePath path, BlockQ5_1& block);
void encode_block(const float* x, const float* w, EncodePath path, BlockQ8_0& block);
void encode_block(const float* x, const float* w, EncodePath path, BlockIQ4_NL& block);
void encode_block(const float* x, const float* w, EncodePath path, BlockMXFP4& block);

// The range from the least to the largest number, 0 included, in 15 equal steps; w is not used.
void encode_block(const float* x, const float* w, EncodePath path, BlockI4G<32>& block);
void encode_block(const float* x, const float* w, EncodePath path, BlockI4G<64>& block);
void encode_block(const float* x, const float* w, EncodePath path, BlockI4G<128>& block);

void encode_block(const float* x, const float* w, EncodePath path, BlockQ2_K& block);
void encode_block(const float* x, const float* w, EncodePath path, BlockQ3_K& block);
void encode_block(const float* x, const float* w, EncodePath path, BlockQ4_K& block);
void encode_block(const float* x, const float* w, EncodePath path, BlockQ5_K& block);
void encode_block(const float* x, const float* w, EncodePath path, BlockQ6_K& block);
void encode_block(const float* x, const float* w, EncodePath path, BlockIQ4_XS& block);

void encode_block(const float* x, const float* w, EncodePath path, BlockTQ1_0& block);
void encode_block(const float* x, const float* w, EncodePath path, BlockTQ2_0& block);

}  // namespace lm
