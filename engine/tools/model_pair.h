// engine/tools/model_pair.h — a large and a small model that agree, or don't, out of one: to
// measure what a draft model brings. Layers whose last matrices are zero add nothing to the
// residual stream, so a model with nine times as many of them besides its own says the same at ten
// times the cost.
#pragma once
#include <cstdint>

#include "engine/core/result.h"
#include "engine/tools/synthetic.h"
#include "gguf/file.h"

namespace lm {

// `file` with `times` times its layers, the new ones without effect. unsupported for what is not a
// plain stack of dense layers.
Result<MemoryFile> deepen(const gguf::File& file, int times);

// `file` with the rows of every matrix in another order: the same cost, and nothing it says is
// right.
Result<MemoryFile> shuffle(const gguf::File& file, uint64_t seed);

}  // namespace lm
