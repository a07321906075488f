// engine/tools/quantize_plan.h — which type each tensor of a file gets, and why.
#pragma once
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "engine/tools/imatrix.h"
#include "engine/tools/quantize.h"
#include "engine/tools/recipes.h"
#include "gguf/file.h"

namespace lm {

// One for each of file.tensors(), in their order. What the plan could not do as asked is added to
// `notes`.
Result<std::vector<PlannedType>> plan_types(const QuantizeOptions& options, const Recipe& recipe,
                                            const gguf::File& file, const Imatrix* imatrix,
                                            std::vector<std::string>& notes);

}  // namespace lm
