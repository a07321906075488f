// engine/tools/group_rounding.h — rounding to nearest in groups of fewer bits than their type
// holds, or of symmetric ones: what GPTQ and AWQ are measured against.
#pragma once
#include <memory>

#include "engine/tools/quantize_method.h"

namespace lm {

// bad_request when these bits have nothing to be in: only groups can have less than their type.
Status check_group_bits(std::span<const PlannedType> plan, int bits, bool symmetric);

// i4g tensors with 2, 3 or 4 bits; all others plainly.
std::unique_ptr<QuantizeMethod> make_group_rounding(int bits, bool symmetric);

}  // namespace lm
