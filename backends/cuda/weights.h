// backends/cuda/weights.h — a file's tensors brought to the device in the layout of its kernels.
#pragma once
#include "backends/backend.h"
#include "backends/cuda/context.h"
#include "backends/cuda/staging.h"

namespace lm::cuda {

// What load_weight() takes of the device: planes are padded to whole tiles and records, vectors
// become f32.
uint64_t weight_bytes(const WeightShape& weight);

// The copy is enqueued; the host's bytes are no longer needed.
Result<LoadedWeight> load_weight(const Context& context, Backend& backend, Staging& staging,
                                 const HostTensor& host, WeightUse use);

}  // namespace lm::cuda
