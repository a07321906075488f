// gguf/parse.h — one GGUF file in memory, checked from its first byte to its last and taken apart.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "gguf/file.h"
#include "gguf/name_index.h"
#include "gguf/value.h"

namespace lm::gguf {

// Bounds on what one model may hold, so that a hostile header costs little memory. The largest
// published models have some 100,000 tensors and 100 keys.
inline constexpr uint64_t kMaxTensors = uint64_t{1} << 18;
inline constexpr uint64_t kMaxKeys = uint64_t{1} << 16;
inline constexpr uint64_t kMaxNameBytes = (uint64_t{1} << 16) - 1;  // docs/gguf.md, of a key
inline constexpr int kMaxArrayDepth = 4;

inline constexpr std::string_view kAlignmentKey = "general.alignment";
inline constexpr uint32_t kDefaultAlignment = 32;
inline constexpr uint32_t kMaxAlignment = 1 << 21;  // the largest page that a kernel maps data by
// A power of two, and a multiple of 8 as docs/gguf.md asks.
constexpr bool valid_alignment(uint64_t n) {
  return n >= 8 && n <= kMaxAlignment && (n & (n - 1)) == 0;
}

struct Part {
  uint32_t version = 0;
  uint32_t alignment = kDefaultAlignment;
  std::vector<std::string_view> keys;  // unique; in file order
  std::vector<Value> values;           // values[i] belongs to keys[i]
  NameIndex key_index;
  std::vector<TensorInfo> tensors;  // in file order; names not yet checked for being unique

  const Value* value(std::string_view key) const {
    const auto i = key_index.find(key, [&](uint32_t k) { return keys[k]; });
    return i ? &values[*i] : nullptr;
  }
};

Result<Part> parse_part(std::span<const std::byte> bytes);

// A tensor's length in bytes; Error when a dimension is below 1, a product does not fit, or dims[0]
// is not a whole number of blocks. What the reader and the writer both ask of a shape.
Result<uint64_t> tensor_bytes(DType dtype, std::span<const int64_t> dims);

// The integer or boolean stored at `at`; nullopt when the type is another or 64 signed bits too
// few.
std::optional<int64_t> as_integer(ValueType type, const std::byte* at);

}  // namespace lm::gguf
