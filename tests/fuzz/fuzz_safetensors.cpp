// Parses any bytes as a safetensors file, or, when they start with '{', as the index of a sharded
// model; then uses all that was accepted.
#include <cstdint>
#include <span>
#include <string_view>

#include "engine/core/check.h"
#include "gguf/safetensors.h"
#include "gguf/safetensors_json.h"

namespace lm::safetensors {
namespace {

void walk_file(std::span<const std::byte> input) {
  const auto file = File::parse(input);
  if (!file.ok()) return;
  uint64_t total = 0;
  for (const TensorInfo& tensor : file.value().tensors()) {
    LM_CHECK(file.value().tensor(tensor.name) == &tensor);
    uint64_t expected = uint64_t(element_bytes(tensor.type));
    for (const int64_t dim : tensor.shape) expected *= uint64_t(dim);
    LM_CHECK(expected == tensor.bytes.size());
    total += expected;
    if (tensor.bytes.empty()) continue;
    LM_CHECK(tensor.bytes.data() >= input.data() + 8);
    LM_CHECK(tensor.bytes.data() + tensor.bytes.size() <= input.data() + input.size());
  }
  LM_CHECK(total + 8 <= input.size());
}

void walk_index(std::string_view text) {
  const auto shards = parse_index(text);
  if (!shards.ok()) return;
  for (const Shard& shard : shards.value()) {
    LM_CHECK(shard.file_name.find('/') == std::string::npos);
    LM_CHECK(!shard.tensors.empty());
  }
}

}  // namespace
}  // namespace lm::safetensors

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0 && data[0] == '{') {
    lm::safetensors::walk_index(std::string_view(reinterpret_cast<const char*>(data), size));
  } else {
    lm::safetensors::walk_file({reinterpret_cast<const std::byte*>(data), size});
  }
  return 0;
}
