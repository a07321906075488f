// engine/tools/group_rounding.h — rounding to nearest in groups of fewer bits than their type
// holds, or of symmetric ones: what GPTQ and AWQ are measured against.
#pragma once
#include <memory>
#include <optional>

#include "engine/tools/quantize_method.h"

namespace lm {

// bad_request when there are no groups to have so many bits (nothing: not asked for), or to be
// symmetric: other types leave no choice.
Status check_group_bits(std::span<const PlannedType> plan, std::optional<int> bits, bool symmetric);

// i4g tensors with 2, 3 or 4 bits; all others plainly. Without any, check() says so.
std::unique_ptr<QuantizeMethod> make_group_rounding(int bits, bool symmetric);

}  // namespace lm
