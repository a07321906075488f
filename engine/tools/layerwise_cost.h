// engine/tools/layerwise_cost.h — what quantizing layer by layer takes, in operations and memory.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "engine/tools/layer_quantizer.h"

namespace lm {

// Floating point operations of one layer.
struct LayerCost {
  double sequence = 0;  // one calibration sequence through the layer
  double hessians = 0;  // its share of the Hessians
  double quantize = 0;  // scales, factors, rounding

  // Watching all sequences, quantizing, and passing all sequences on.
  double total(size_t n_sequences) const {
    return double(n_sequences) * (2 * sequence + hessians) + quantize;
  }
};
LayerCost layer_cost(std::span<const LayerTensor> tensors, std::span<const InputGroup> groups,
                     LayerMethod method, int n_ctx);

// Bytes beside the mapped file: the residual stream of all sequences, the weights of a layer as
// numbers and as the engine runs them, and the Hessians with the factors of one.
uint64_t layerwise_memory(std::span<const LayerTensor> tensors, std::span<const InputGroup> groups,
                          uint64_t n_tokens, int64_t d_model);

}  // namespace lm
