#include "engine/tools/layerwise_cost.h"

#include <algorithm>

#include "quant/activation_scales.h"

namespace lm {
namespace {

constexpr double kSearches = 40, kSampledRows = 512;  // of activation_scales.cpp
// To choose scales takes a weight as long as so many operations of a product (feedback_bench): of
// a group by its range, or searched for; of a type that fits them.
constexpr double kByRange = 200, kSearched = 3000, kFitted = 12000;

int64_t n_numbers(const gguf::TensorInfo& tensor) {
  int64_t n = 1;
  for (const int64_t dim : tensor.dims) n *= dim;
  return n;
}

// Of the tokens, those that meet this tensor.
double share_of(const gguf::TensorInfo& tensor, std::span<const InputGroup> groups) {
  const auto found = std::ranges::find_if(groups, [&](const InputGroup& group) {
    return std::ranges::find(group.tensors, tensor.name) != group.tensors.end();
  });
  return found == groups.end() ? 1 : found->share;
}

uint64_t hessian_bytes(int64_t n_cols) {
  return uint64_t(n_cols) * uint64_t(n_cols) * sizeof(float);
}

}  // namespace

LayerCost layer_cost(const LayerParts& layer, size_t n_batches, LayerMethod method, int n_ctx) {
  const auto& [tensors, groups] = layer;
  LayerCost cost{.n_batches = n_batches};
  const auto shared = double(shared_columns(groups));
  cost.hessians = shared * shared * n_ctx;
  for (const LayerTensor& tensor : tensors)
    cost.sequence += 2.0 * double(n_numbers(*tensor.from)) * share_of(*tensor.from, groups) * n_ctx;
  for (const InputGroup& group : groups) {
    const auto k = double(group.n_cols);
    cost.hessians += k * k * group.share * n_ctx;  // a half of the matrix
    double rows = 0, clips = 0, fits = 0;
    for (const std::string& name : group.tensors) {
      for (const LayerTensor& tensor : tensors) {
        if (tensor.from->name != name) continue;
        const auto n = double(rows_of(*tensor.from, group).rows);
        rows += n;
        const double tried = clips_tried(tensor.type);
        clips += tried * n * k *
                 (2.0 * dtype_info(tensor.type).block_elems +
                  (is_i4g(tensor.type) ? kByRange : kFitted));
        fits += n * k * (is_i4g(tensor.type) ? kSearched : kFitted);
      }
    }
    cost.quantize +=
        method == LayerMethod::gptq
            ? k * k * k / 3 + rows * k * k + fits
            : kSearches * std::min(rows, kSampledRows) * k * (2 * k + kByRange) + clips;
  }
  return cost;
}

// The first group of an expert is that before its activation.
int64_t shared_columns(std::span<const InputGroup> groups) {
  const auto found =
      std::ranges::find_if(groups, [](const InputGroup& group) { return group.expert >= 0; });
  return found == groups.end() ? 0 : found->n_cols;
}

GroupBatches group_batches(std::span<const InputGroup> groups, uint64_t budget) {
  GroupBatches batches;
  size_t first = 0;
  uint64_t used = 0;  // bytes of the batch that begins at `first`
  for (size_t i = 0; i < groups.size();) {
    const int expert = groups[i].expert;
    size_t end = i;
    uint64_t bytes = 0;
    for (; end < groups.size() && groups[end].expert == expert; ++end)
      bytes += hessian_bytes(groups[end].n_cols);
    const bool has_expert = i > first && groups[i - 1].expert >= 0;
    if (has_expert && used + bytes > budget) {
      batches.push_back(groups.subspan(first, i - first));
      first = i;
      used = 0;
    }
    used += bytes;
    i = end;
  }
  batches.push_back(groups.subspan(first));
  return batches;
}

uint64_t layerwise_memory(const LayerParts& layer, const GroupBatches& batches, uint64_t n_tokens,
                          int64_t d_model) {
  uint64_t numbers = 0, stored = 0, squares = 0, largest = 0;
  for (const LayerTensor& tensor : layer.tensors) {
    numbers += uint64_t(n_numbers(*tensor.from)) * sizeof(float);
    stored += uint64_t(n_numbers(*tensor.from)) / uint64_t(dtype_info(tensor.type).block_elems) *
              uint64_t(dtype_info(tensor.type).block_bytes);
  }
  for (const std::span<const InputGroup> batch : batches) {
    uint64_t sum = 0;
    for (const InputGroup& group : batch) {
      sum += hessian_bytes(group.n_cols);
      largest = std::max(largest, hessian_bytes(group.n_cols));
    }
    squares = std::max(squares, sum);
  }
  return n_tokens * uint64_t(d_model) * sizeof(float) + 2 * numbers + stored + squares + largest +
         hessian_bytes(shared_columns(layer.groups));
}

double RunCost::total(size_t next, size_t n_sequences) const {
  double sum = 0;
  for (size_t i = 0; i < layers.size(); ++i)
    sum += i < next ? double(n_sequences) * layers[i].sequence : layers[i].total(n_sequences);
  return sum - (layers.empty() ? 0 : double(n_sequences) * layers.back().sequence);
}

RunCost run_cost(std::span<const LayerParts> layers, const RunShape& shape) {
  uint64_t fixed = 0;
  for (const LayerParts& layer : layers)
    fixed = std::max(fixed, layerwise_memory(layer, {}, shape.n_tokens, shape.d_model));
  const uint64_t rest = shape.available - std::min(shape.available, fixed);
  RunCost cost{.layers = {},
               .hessian_budget = shape.hessian_budget > 0
                                     ? shape.hessian_budget
                                     : std::min(shape.available / 4, rest / 2)};
  for (const LayerParts& layer : layers) {
    const GroupBatches batches = group_batches(layer.groups, cost.hessian_budget);
    cost.layers.push_back(layer_cost(layer, batches.size(), shape.method, shape.n_ctx));
    cost.n_batches = std::max(cost.n_batches, batches.size());
    cost.bytes =
        std::max(cost.bytes, layerwise_memory(layer, batches, shape.n_tokens, shape.d_model));
  }
  return cost;
}

}  // namespace lm
