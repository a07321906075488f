// backends/cuda/planes_tiles.h — a matrix in planes (planes.h) to tiles of f16 (half_tiles.h).
#pragma once
#include "backends/cuda/context.h"
#include "backends/tensor.h"

namespace lm::cuda {

// See weights_to_half_tiles. `first` is a multiple of kTileRows.
void planes_to_half_tiles(const Context& context, Tensor weight, int64_t first, int64_t n,
                          std::byte* tiles, int64_t at);

}  // namespace lm::cuda
