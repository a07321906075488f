// engine/tools/layer_quantizer.h — one layer's tensors in their new types, by what its matrices'
// inputs look like: GPTQ rounds with error feedback, AWQ scales channels first and then clips.
#pragma once
#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/thread_pool.h"
#include "engine/tools/layer_tensors.h"
#include "gguf/file.h"
#include "quant/block_grid.h"
#include "quant/error_feedback.h"
#include "quant/hessian.h"

namespace lm {

enum class LayerMethod { gptq, awq };

struct LayerMethodOptions {
  LayerMethod method = LayerMethod::gptq;
  int bits = 4;            // of i4g types: 2, 3 or 4
  bool symmetric = false;  // likewise
  FeedbackOptions feedback{};

  GridFormat format(DType type) const {
    return {.type = type, .bits = bits, .symmetric = symmetric};
  }
};

struct LayerTensor {
  const gguf::TensorInfo* from;
  DType type;  // that it becomes
};

struct LayerJob {
  std::vector<LayerTensor> tensors;  // all of the layer
  std::vector<InputGroup> groups;
  std::vector<Hessian> hessians;      // of the groups' inputs
  std::vector<float> ffn_importance;  // of what experts read; empty where there are none
  ThreadPool& threads;
};

// Bytes of every tensor of the layer, by name; matrices that the method has no use for (experts)
// are rounded to nearest. bad_file for weights that are not finite.
using LayerBytes = std::map<std::string, std::vector<std::byte>, std::less<>>;
Result<LayerBytes> quantize_layer(const LayerJob& job, const LayerMethodOptions& options);

}  // namespace lm
