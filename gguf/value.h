// gguf/value.h — the metadata types of a GGUF file (ggml docs/gguf.md, "gguf_metadata_value_type"),
// and one value as a view.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace lm::gguf {

enum class ValueType : uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

std::string_view value_type_name(ValueType type);  // "u32", "string", "array", ...
size_t value_type_bytes(ValueType type);           // encoded; 0 for string and array, which vary
std::optional<ValueType> value_type_from_id(uint32_t id);

// One metadata value. Cheap to copy; a view into the file.
struct Value {
  ValueType type;
  ValueType element_type;            // of an array; otherwise == type
  uint64_t count;                    // elements of an array; otherwise 1
  std::span<const std::byte> bytes;  // the encoded payload, checked; of an array: its elements
};

}  // namespace lm::gguf
