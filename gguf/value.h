// gguf/value.h — the metadata types of a GGUF file (ggml docs/gguf.md, "gguf_metadata_value_type").
#pragma once
#include <cstdint>
#include <string_view>

namespace lm::gguf {

enum class ValueType : uint32_t {
  u8 = 0, i8 = 1, u16 = 2, i16 = 3, u32 = 4, i32 = 5, f32 = 6, boolean = 7,
  string = 8, array = 9, u64 = 10, i64 = 11, f64 = 12,
};

std::string_view value_type_name(ValueType type);  // "u32", "string", "array", ...

}  // namespace lm::gguf
