// quant/dtype.cpp — the table of formats. Sizes come from the block structs; the names and type
// numbers are ggml's (enum ggml_type in ggml.h, type_traits in ggml.c), but for i4g, which is ours.
#include "quant/dtype.h"

#include <array>
#include <bit>
#include <cstdint>
#include <limits>

#include "engine/core/check.h"
#include "quant/blocks.h"

namespace lm {
namespace {

static_assert(std::endian::native == std::endian::little,
              "blocks are used as they lie in the file");

struct Row {
  DType type;
  DTypeInfo info;
};

template <class Block>
constexpr Row blocks(DType type, std::string_view name, int gguf_id) {
  return {type, {name, Block::kElems, int(sizeof(Block)), gguf_id}};
}

constexpr Row numbers(DType type, std::string_view name, int gguf_id, int bytes) {
  return {type, {name, 1, bytes, gguf_id}};
}

constexpr std::array<Row, kDTypeCount> kTable = {
    numbers(DType::f32, "f32", 0, 4),
    numbers(DType::f16, "f16", 1, 2),
    numbers(DType::bf16, "bf16", 30, 2),
    numbers(DType::f64, "f64", 28, 8),
    numbers(DType::i8, "i8", 24, 1),
    numbers(DType::i16, "i16", 25, 2),
    numbers(DType::i32, "i32", 26, 4),
    numbers(DType::i64, "i64", 27, 8),
    blocks<BlockQ4_0>(DType::q4_0, "q4_0", 2),
    blocks<BlockQ4_1>(DType::q4_1, "q4_1", 3),
    blocks<BlockQ5_0>(DType::q5_0, "q5_0", 6),
    blocks<BlockQ5_1>(DType::q5_1, "q5_1", 7),
    blocks<BlockQ8_0>(DType::q8_0, "q8_0", 8),
    blocks<BlockQ8_1>(DType::q8_1, "q8_1", 9),
    blocks<BlockQ2_K>(DType::q2_K, "q2_K", 10),
    blocks<BlockQ3_K>(DType::q3_K, "q3_K", 11),
    blocks<BlockQ4_K>(DType::q4_K, "q4_K", 12),
    blocks<BlockQ5_K>(DType::q5_K, "q5_K", 13),
    blocks<BlockQ6_K>(DType::q6_K, "q6_K", 14),
    blocks<BlockQ8_K>(DType::q8_K, "q8_K", 15),
    blocks<BlockIQ1_S>(DType::iq1_S, "iq1_s", 19),
    blocks<BlockIQ1_M>(DType::iq1_M, "iq1_m", 29),
    blocks<BlockIQ2_XXS>(DType::iq2_XXS, "iq2_xxs", 16),
    blocks<BlockIQ2_XS>(DType::iq2_XS, "iq2_xs", 17),
    blocks<BlockIQ2_S>(DType::iq2_S, "iq2_s", 22),
    blocks<BlockIQ3_XXS>(DType::iq3_XXS, "iq3_xxs", 18),
    blocks<BlockIQ3_S>(DType::iq3_S, "iq3_s", 21),
    blocks<BlockIQ4_NL>(DType::iq4_NL, "iq4_nl", 20),
    blocks<BlockIQ4_XS>(DType::iq4_XS, "iq4_xs", 23),
    blocks<BlockTQ1_0>(DType::tq1_0, "tq1_0", 34),
    blocks<BlockTQ2_0>(DType::tq2_0, "tq2_0", 35),
    blocks<BlockMXFP4>(DType::mxfp4, "mxfp4", 39),
    blocks<BlockI4G<32>>(DType::i4g32, "i4g32", 0x4901),
    blocks<BlockI4G<64>>(DType::i4g64, "i4g64", 0x4902),
    blocks<BlockI4G<128>>(DType::i4g128, "i4g128", 0x4903),
};

constexpr bool in_order() {
  for (int i = 0; i < kDTypeCount; ++i) {
    if (kTable[size_t(i)].type != DType(i)) return false;
  }
  return true;
}
static_assert(in_order(), "a row for each DType, in the enum's order");

constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

}  // namespace

const DTypeInfo& dtype_info(DType type) {
  LM_CHECK(type < DType::count_);
  return kTable[size_t(type)].info;
}

bool is_i4g(DType type) {
  return type == DType::i4g32 || type == DType::i4g64 || type == DType::i4g128;
}

std::optional<DType> dtype_from_gguf_id(uint32_t id) {
  for (const Row& row : kTable) {
    if (uint32_t(row.info.gguf_id) == id) return row.type;
  }
  return std::nullopt;
}

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const Row& row : kTable) {
    if (equal_ignoring_case(row.info.name, name)) return row.type;
  }
  return std::nullopt;
}

size_t row_bytes(DType type, int64_t n_elems) {
  const DTypeInfo& info = dtype_info(type);
  LM_CHECK(n_elems >= 0 && n_elems % info.block_elems == 0);
  const uint64_t n_blocks = uint64_t(n_elems / info.block_elems);
  LM_CHECK(n_blocks <= std::numeric_limits<size_t>::max() / size_t(info.block_bytes));
  return size_t(n_blocks) * size_t(info.block_bytes);
}

}  // namespace lm
