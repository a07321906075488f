// quant/dtype.h — the number formats, and the one place that knows their sizes.
// A row of a tensor is a whole number of blocks; a block holds `block_elems` numbers.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace lm {

enum class DType : uint8_t {
  f32,
  f16,
  bf16,
  f64,
  i8,
  i16,
  i32,
  i64,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q8_1,
  q2_K,
  q3_K,
  q4_K,
  q5_K,
  q6_K,
  q8_K,
  iq1_S,
  iq1_M,
  iq2_XXS,
  iq2_XS,
  iq2_S,
  iq3_XXS,
  iq3_S,
  iq4_NL,
  iq4_XS,
  tq1_0,
  tq2_0,
  mxfp4,
  i4g32,
  i4g64,
  i4g128,
  count_
};
inline constexpr int kDTypeCount = int(DType::count_);

struct DTypeInfo {
  std::string_view name;  // as the field writes it: "f32", "q4_K", "iq2_xxs"
  int block_elems;        // numbers in a block
  int block_bytes;        // bytes of a block
  int gguf_id;            // ggml's type number in the file; i4g*: our own
};

const DTypeInfo& dtype_info(DType type);
inline std::string_view dtype_name(DType type) {
  return dtype_info(type).name;
}

// Asymmetric 4-bit groups: this project's own types, which a file marks by kI4gVersionKey.
bool is_i4g(DType type);
inline constexpr std::string_view kI4gVersionKey = "llm.i4g.version";
inline constexpr uint32_t kI4gVersion = 1;

std::optional<DType> dtype_from_gguf_id(uint32_t id);
std::optional<DType> dtype_from_name(std::string_view name);  // case-insensitive

// Bytes of a row of n_elems numbers. n_elems must be a whole number of blocks, and small enough
// that the product fits: a reader of files checks both first.
size_t row_bytes(DType type, int64_t n_elems);

}  // namespace lm
