// engine/tools/convert_verify.h — the written file read again: hashes for the report and, when
// asked, every number compared with the source.
#pragma once
#include <filesystem>
#include <functional>
#include <vector>

#include "engine/tools/convert.h"
#include "engine/tools/convert_plan.h"

namespace lm::hf {

// Fills in the hashes of report.tensors (in the order of `tensors`). With `compare`, a number that
// is not what the report says is an Error of code io, and the file is removed, as it is on `stop`.
Status check_written(const std::filesystem::path& path, const safetensors::File& source,
                     const std::vector<PlannedTensor>& tensors, bool compare,
                     const std::function<bool()>& stop, ConvertReport& report);

}  // namespace lm::hf
