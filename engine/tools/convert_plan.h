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
  DType type = DType::f32;  // in the output, as choose_types() decides
  Recoding recoding = Recoding::numbers;
  std::vector<int64_t> dims;  // GGUF order: the first one varies fastest
  TensorSource source;
  // Not from the folder, `source` is empty: rope factors, orders of columns.
  std::vector<float> computed;
  std::vector<int32_t> computed_ints;

  bool from_folder() const { return computed.empty() && computed_ints.empty(); }
};

// Every tensor of `file` is planned, on the list of those that nothing needs, or an error; so is
// every tensor that the family must have. `file` must outlive the plan.
Result<std::vector<PlannedTensor>> plan_tensors(const Config& config,
                                                const Quantization& quantization,
                                                const safetensors::File& file,
                                                std::vector<std::string>& notes);

}  // namespace lm::hf
