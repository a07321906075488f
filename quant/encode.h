// quant/encode.h — floats to stored blocks.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "quant/dtype.h"

namespace lm {

// Types that encode() can write.
bool can_encode(DType type);

// How the search for scales is compiled: for the instructions this processor has, or for those that
// all have. The bytes are the same.
enum class EncodePath { best, plain };

// dst = the row x[0 .. n) in `type`; n is a whole number of blocks. `importance` is empty or holds
// a weight >= 0 for each column (squared activations, from an importance matrix). Deterministic.
// Infinite and NaN inputs give some finite block, never undefined behaviour. q8_0, and q4_0 without
// importance, are the field's definition byte for byte; q8_0 and i4g have no use for importance.
void encode(DType type, std::span<const float> x, std::byte* dst,
            std::span<const float> importance = {}, EncodePath path = EncodePath::best);

}  // namespace lm
