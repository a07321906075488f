// gguf/safetensors_json.h — the two JSON texts of safetensors models, read as a stream of events: a
// hostile text costs no more memory than the tensors that it describes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "gguf/safetensors.h"

namespace lm::safetensors {

inline constexpr size_t kMaxTensors = size_t{1} << 18;
inline constexpr size_t kMaxRank = 8;
inline constexpr size_t kMaxMetadataKeys = size_t{1} << 14;
inline constexpr size_t kMaxShards = size_t{1} << 14;

using Metadata = std::map<std::string, std::string, std::less<>>;

struct Header {
  std::vector<TensorInfo> tensors;  // in the header's order; bytes are inside the data given
  Metadata metadata;
};

// {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"k": "v"}}
// `data` is what follows the header; offsets count from its start.
Result<Header> parse_header(std::string_view text, std::span<const std::byte> data);

struct Shard {
  std::string file_name;             // plain: no folder in it
  std::vector<std::string> tensors;  // those that the index promises
};

// {"metadata": ..., "weight_map": {"NAME": "model-00001-of-00002.safetensors"}}
Result<std::vector<Shard>> parse_index(std::string_view text);

}  // namespace lm::safetensors
