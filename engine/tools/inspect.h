// engine/tools/inspect.h — what a GGUF file holds, and what running it takes. Reads no tensor data.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/model/config.h"
#include "gguf/file.h"
#include "quant/dtype.h"

namespace lm {

// A metadata value as JSON. Of an array longer than max_elements:
// {"array": "string", "count": 32000, "first": [...]}. Not-finite numbers become strings.
Json metadata_json(const gguf::Value& value, size_t max_elements);

struct TypeTotal {
  DType type;
  size_t n_tensors = 0;
  uint64_t n_elements = 0;
  uint64_t bytes = 0;
};

// What a draft model adds.
struct DraftSummary {
  std::filesystem::path path{};
  uint64_t weight_bytes = 0, kv_bytes = 0;
};

// The model that the metadata describes, and the memory that a context of n_ctx takes.
struct ModelSummary {
  ModelConfig config{};
  int n_ctx = 0;
  DType kv_dtype = DType::f16;
  uint64_t weight_bytes = 0;  // of all tensors
  uint64_t kv_bytes = 0;      // K and V of n_ctx tokens; of layers with a window, of that
  std::optional<DraftSummary> draft{};

  uint64_t total_bytes() const {
    const uint64_t beside = draft ? draft->weight_bytes + draft->kv_bytes : 0;
    return weight_bytes + kv_bytes + beside;
  }
};

struct Inspection {
  gguf::File file;
  std::vector<TypeTotal> types{};       // the one with the most bytes first
  std::optional<ModelSummary> model{};  // empty: nothing here can run it
  std::string not_runnable{};           // why
};

struct InspectOptions {
  int n_ctx = 0;  // tokens; 0: as trained
  DType kv_dtype = DType::f16;
  std::optional<std::filesystem::path> draft{};  // a model that would draft for this one
};

// bad_file when it isn't a whole GGUF file; bad_request when this model can't keep its cache in
// kv_dtype.
Result<Inspection> inspect(const std::filesystem::path& path, const InspectOptions& options);

}  // namespace lm
