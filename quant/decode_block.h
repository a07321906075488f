// quant/decode_block.h — every block format to floats, eight numbers at a time: numbers 8 * i ..
// 8 * i + 7 of a block. The functions are constexpr so that compilers for devices take them too;
// what is written here is the one definition of each format. For this room and for the devices.
// Every product and sum is rounded where the reference (ggml-quants.c of ggml) rounds it.
#pragma once
#include "quant/decode_basic.h"
#include "quant/decode_iq.h"
#include "quant/decode_k.h"
#include "quant/dtype.h"

namespace lm {

// The same call for formats with and without code books.
template <class Block>
constexpr void decode_eight_of(const Block& block, int i, const Codebooks& books, float* out) {
  if constexpr (requires { decode_eight(block, i, books, out); }) {
    decode_eight(block, i, books, out);
  } else {
    decode_eight(block, i, out);
  }
}

}  // namespace lm
