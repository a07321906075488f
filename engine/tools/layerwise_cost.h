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
  size_t n_batches = 1;

  // Watching all sequences for each batch, quantizing, and passing all sequences on.
  double total(size_t n_sequences) const {
    return double(n_sequences) * (double(n_batches + 1) * sequence + hessians) + quantize;
  }
};
LayerCost layer_cost(std::span<const LayerTensor> tensors, std::span<const InputGroup> groups,
                     size_t n_batches, LayerMethod method, int n_ctx);

// The groups of a layer as they are watched, one pass of all sequences for each batch: what every
// token meets first, then experts, at least one a batch and as many as keep its Hessians within
// `budget` bytes.
using GroupBatches = std::vector<std::span<const InputGroup>>;
GroupBatches group_batches(std::span<const InputGroup> groups, uint64_t budget);

// Bytes beside the mapped file: the residual stream of all sequences, the weights of a layer as
// numbers and as the engine runs them, and the Hessians of a batch with the factors of one.
uint64_t layerwise_memory(std::span<const LayerTensor> tensors, const GroupBatches& batches,
                          uint64_t n_tokens, int64_t d_model);

}  // namespace lm
