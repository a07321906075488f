// engine/tools/export_plan.h — which tensor of the GGUF becomes which of the folder: the family's
// rules (convert_families.h) read from right to left, and every change of order undone.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "engine/model/config.h"
#include "engine/tools/convert_families.h"
#include "gguf/file.h"
#include "quant/gptq_layout.h"

namespace lm::hf {

// One matrix or vector of the folder.
struct ExportItem {
  std::string name;  // "model.layers.0.mlp.up_proj.weight"
  const gguf::TensorInfo* from = nullptr;
  const std::byte* data = nullptr;  // of an expert: its part of `from`
  int64_t rows = 0, cols = 0;       // a vector is one row
  bool is_vector = false;
  float add = 0;  // to every number
  // Row n of the folder's tensor is row rows_from[n] of the file's; columns likewise. Empty: as is.
  std::vector<int32_t> rows_from, cols_from;
  std::optional<GptqShape> gptq;  // empty: plain numbers
  bool is_module = false;         // a linear layer, that is: a program may expect integers of it

  std::string stem() const;  // the name without ".weight"
};

const Family* family_of_file(const gguf::File& file, const ModelConfig& config);

Result<std::vector<ExportItem>> plan_export(const gguf::File& file, const ModelConfig& config,
                                            const Family& family);

}  // namespace lm::hf
