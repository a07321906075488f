// quant/encode_block.h — floats to one block, a function a format. Inside the room only.
#pragma once
#include "quant/blocks.h"

namespace lm {

// block = x[0 .. Block::kElems). x and w are finite; w is null or holds a weight >= 0 a number.
void encode_block(const float* x, const float* w, BlockQ4_0& block);
void encode_block(const float* x, const float* w, BlockQ8_0& block);

}  // namespace lm
