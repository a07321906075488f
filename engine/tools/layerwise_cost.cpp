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

uint64_t hessian_bytes(const InputGroup& group) {
  return uint64_t(group.n_cols) * uint64_t(group.n_cols) * sizeof(float);
}

}  // namespace

LayerCost layer_cost(std::span<const LayerTensor> tensors, std::span<const InputGroup> groups,
                     size_t n_batches, LayerMethod method, int n_ctx) {
  LayerCost cost{.n_batches = n_batches};
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

GroupBatches group_batches(std::span<const InputGroup> groups, uint64_t budget) {
  GroupBatches batches;
  size_t first = 0;
  uint64_t used = 0;  // bytes of the batch that begins at `first`
  for (size_t i = 0; i < groups.size();) {
    const int expert = groups[i].expert;
    size_t end = i;
    uint64_t bytes = 0;
    for (; end < groups.size() && groups[end].expert == expert; ++end)
      bytes += hessian_bytes(groups[end]);
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

uint64_t layerwise_memory(std::span<const LayerTensor> tensors, const GroupBatches& batches,
                          uint64_t n_tokens, int64_t d_model) {
  uint64_t numbers = 0, stored = 0, squares = 0, largest = 0;
  for (const LayerTensor& tensor : tensors) {
    numbers += uint64_t(n_numbers(*tensor.from)) * sizeof(float);
    stored += uint64_t(n_numbers(*tensor.from)) / uint64_t(dtype_info(tensor.type).block_elems) *
              uint64_t(dtype_info(tensor.type).block_bytes);
  }
  for (const std::span<const InputGroup> batch : batches) {
    uint64_t sum = 0;
    for (const InputGroup& group : batch) {
      sum += hessian_bytes(group);
      largest = std::max(largest, hessian_bytes(group));
    }
    squares = std::max(squares, sum);
  }
  return n_tokens * uint64_t(d_model) * sizeof(float) + 2 * numbers + stored + squares + largest;
}

}  // namespace lm
