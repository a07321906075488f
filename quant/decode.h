// quant/decode.h — stored blocks to floats, bit for bit as the field's reference does it.
#pragma once
#include <cstddef>
#include <cstdint>

#include "quant/dtype.h"

namespace lm {

// out[0 .. n) = the numbers held by the blocks at `src`. n must be a whole number of blocks of a
// real-valued type (LM_CHECK: integers i8..i64 and f64 are converted as numbers). `src` needs no
// alignment. Any bytes decode to something: a block is never invalid (a scale may be inf or NaN).
void decode(DType type, const std::byte* src, float* out, int64_t n);

}  // namespace lm
