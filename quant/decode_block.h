// quant/decode_block.h — one block to floats, a function a format. Inside the room only.
#pragma once
#include "quant/blocks.h"

namespace lm {

// out[0 .. Block::kElems)
void decode_block(const BlockQ2_K& block, float* out);
void decode_block(const BlockQ3_K& block, float* out);
void decode_block(const BlockQ4_K& block, float* out);
void decode_block(const BlockQ5_K& block, float* out);
void decode_block(const BlockQ6_K& block, float* out);
void decode_block(const BlockQ8_K& block, float* out);
void decode_block(const BlockTQ1_0& block, float* out);
void decode_block(const BlockTQ2_0& block, float* out);

void decode_block(const BlockIQ1_S& block, float* out);
void decode_block(const BlockIQ1_M& block, float* out);
void decode_block(const BlockIQ2_XXS& block, float* out);
void decode_block(const BlockIQ2_XS& block, float* out);
void decode_block(const BlockIQ2_S& block, float* out);
void decode_block(const BlockIQ3_XXS& block, float* out);
void decode_block(const BlockIQ3_S& block, float* out);
void decode_block(const BlockIQ4_XS& block, float* out);

}  // namespace lm
