// engine/tools/export_config.h — config.json of an exported folder: the one that the file was made
// from, or a new one from the file's metadata; and what it says of the integers.
#pragma once
#include <vector>

#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/model/config.h"
#include "engine/tools/convert_families.h"
#include "engine/tools/export_plan.h"

namespace lm::hf {

// "quantization_config": the shape of most modules, and what differs from it under "dynamic", as
// GPTQModel reads it. Null when no module holds integers.
Json gptq_config(const std::vector<ExportItem>& items);

// unsupported: a scaling of rope that config.json has no words for.
Result<Json> export_config(const gguf::File& file, const ModelConfig& config, const Family& family,
                           const Json& quantization);

}  // namespace lm::hf
