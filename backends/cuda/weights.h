// backends/cuda/weights.h — a file's tensors brought to the device in the layout of its kernels.
#pragma once
#include "backends/backend.h"
#include "backends/cuda/context.h"

namespace lm::cuda {

Result<LoadedWeight> load_weight(const Context& context, Backend& backend, const HostTensor& host,
                                 WeightUse use);

}  // namespace lm::cuda
