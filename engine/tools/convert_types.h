// engine/tools/convert_types.h — in which format each planned tensor is written, and how.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "engine/tools/convert_plan.h"

namespace lm::hf {

struct TypeRequest {
  std::optional<DType> type;    // of all matrices; empty: what holds the source best
  std::optional<DType> output;  // of the output matrix, or the embedding that is one
  bool exact = false;           // what no block type holds bit for bit becomes f32
  bool standard_only = false;   // no types of our own
};

// Packed integers keep their values where a type holds them bit for bit; otherwise the nearest
// type, whose error is measured as it is written. bad_file: scales that are not finite.
Status choose_types(const TypeRequest& request, std::vector<PlannedTensor>& tensors,
                    std::vector<std::string>& notes);

// Whether the written numbers are the source's by construction: nothing needs to be measured.
bool exact_by_construction(const PlannedTensor& tensor);

}  // namespace lm::hf
