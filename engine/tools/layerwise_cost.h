// engine/tools/layerwise_cost.h — what quantizing layer by layer takes, in operations and memory.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "engine/tools/layer_quantizer.h"

namespace lm {

// A layer as it is quantized.
struct LayerParts {
  std::vector<LayerTensor> tensors;
  std::vector<InputGroup> groups;
};

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
LayerCost layer_cost(const LayerParts& layer, size_t n_batches, LayerMethod method, int n_ctx);

// Of what all experts of the layer read; 0 where there are none.
int64_t shared_columns(std::span<const InputGroup> groups);

// The groups of a layer as they are watched, one pass of all sequences for each batch: what every
// token meets first, then experts, at least one a batch and as many as keep its Hessians within
// `budget` bytes.
using GroupBatches = std::vector<std::span<const InputGroup>>;
GroupBatches group_batches(std::span<const InputGroup> groups, uint64_t budget);

// Bytes beside the mapped file: the residual stream of all sequences, the weights of a layer as
// numbers and as the engine runs them, and the Hessians of a batch and of all experts together with
// the factors of one.
uint64_t layerwise_memory(const LayerParts& layer, const GroupBatches& batches, uint64_t n_tokens,
                          int64_t d_model);

// Of a whole run. Layers differ: the first may be dense and those behind it full of experts.
struct RunCost {
  std::vector<LayerCost> layers;
  uint64_t bytes = 0;           // beside the mapped file, of the layer that takes most
  uint64_t hessian_budget = 0;  // of them for the Hessians of a batch of experts
  size_t n_batches = 1;         // of the layer that has most

  // Of the layers from `next` on, those before it finished: they only pass sequences on, and the
  // last one does not.
  double total(size_t next, size_t n_sequences) const;
};
struct RunShape {
  LayerMethod method;
  uint64_t n_tokens;  // of calibration
  int n_ctx;          // of them in a sequence
  int64_t d_model;
  uint64_t available;  // bytes
  // For the Hessians of a batch; 0: a quarter of what is available, or less where that is much.
  uint64_t hessian_budget;
};
RunCost run_cost(std::span<const LayerParts> layers, const RunShape& shape);

}  // namespace lm
