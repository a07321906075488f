// engine/tools/convert_plan.h — which tensor of the folder becomes which tensor of the GGUF,
// decided and checked before a byte is written.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "engine/tools/hf_config.h"
#include "engine/tools/tensor_source.h"
#include "gguf/safetensors.h"
#include "quant/dtype.h"

namespace lm::hf {

struct PlannedTensor {
  std::string name;
  DType type = DType::f32;    // in the output
  std::vector<int64_t> dims;  // GGUF order: the first one varies fastest
  TensorSource source;
  std::vector<float> computed;  // rope factors: not from the folder; `source` is empty
};

// Every tensor of `file` is planned, on the list of those that nothing needs, or an error; so is
// every tensor that the family must have. `file` must outlive the plan.
Result<std::vector<PlannedTensor>> plan_tensors(const Config& config, const safetensors::File& file,
                                                std::optional<DType> type,
                                                std::vector<std::string>& notes);

}  // namespace lm::hf
