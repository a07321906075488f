// backends/cuda/landing.h — page-locked memory of the host that the stream copies into, and an
// event behind the copies.
#pragma once
#include <memory>

#include "backends/backend.h"
#include "backends/cuda/context.h"

namespace lm::cuda {

// What the context refers to outlives the landing.
Result<std::unique_ptr<Landing>> make_landing(const Context& context, size_t bytes);

}  // namespace lm::cuda
