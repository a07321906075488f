// tests/quant/dtype_test.cpp — the table of formats against ggml's facts, written out here once
// more (enum ggml_type in ggml.h; block sizes from the layouts in ggml-common.h).
#include "quant/dtype.h"

#include <algorithm>
#include <string>

#include "tests/support/support.h"

namespace lm {
namespace {

struct Fact {
  const char* name;
  uint32_t id;
  int elems;
  int bytes;
  DType type;
};

constexpr Fact kFacts[] = {
    {"f32", 0, 1, 4, DType::f32},
    {"f16", 1, 1, 2, DType::f16},
    {"q4_0", 2, 32, 18, DType::q4_0},
    {"q4_1", 3, 32, 20, DType::q4_1},
    {"q5_0", 6, 32, 22, DType::q5_0},
    {"q5_1", 7, 32, 24, DType::q5_1},
    {"q8_0", 8, 32, 34, DType::q8_0},
    {"q8_1", 9, 32, 36, DType::q8_1},
    {"q2_K", 10, 256, 84, DType::q2_K},
    {"q3_K", 11, 256, 110, DType::q3_K},
    {"q4_K", 12, 256, 144, DType::q4_K},
    {"q5_K", 13, 256, 176, DType::q5_K},
    {"q6_K", 14, 256, 210, DType::q6_K},
    {"q8_K", 15, 256, 292, DType::q8_K},
    {"iq2_xxs", 16, 256, 66, DType::iq2_XXS},
    {"iq2_xs", 17, 256, 74, DType::iq2_XS},
    {"iq3_xxs", 18, 256, 98, DType::iq3_XXS},
    {"iq1_s", 19, 256, 50, DType::iq1_S},
    {"iq4_nl", 20, 32, 18, DType::iq4_NL},
    {"iq3_s", 21, 256, 110, DType::iq3_S},
    {"iq2_s", 22, 256, 82, DType::iq2_S},
    {"iq4_xs", 23, 256, 136, DType::iq4_XS},
    {"i8", 24, 1, 1, DType::i8},
    {"i16", 25, 1, 2, DType::i16},
    {"i32", 26, 1, 4, DType::i32},
    {"i64", 27, 1, 8, DType::i64},
    {"f64", 28, 1, 8, DType::f64},
    {"iq1_m", 29, 256, 56, DType::iq1_M},
    {"bf16", 30, 1, 2, DType::bf16},
    {"tq1_0", 34, 256, 54, DType::tq1_0},
    {"tq2_0", 35, 256, 66, DType::tq2_0},
    {"mxfp4", 39, 32, 17, DType::mxfp4},
    {"i4g32", 0x4901, 32, 19, DType::i4g32},
    {"i4g64", 0x4902, 64, 35, DType::i4g64},
    {"i4g128", 0x4903, 128, 67, DType::i4g128},
};

TEST_CASE("dtype: names, ids and block sizes are ggml's") {
  CHECK(std::size(kFacts) == size_t(kDTypeCount));
  for (const Fact& fact : kFacts) {
    CAPTURE(fact.name);
    const DTypeInfo& info = dtype_info(fact.type);
    CHECK(info.name == fact.name);
    CHECK(uint32_t(info.gguf_id) == fact.id);
    CHECK(info.block_elems == fact.elems);
    CHECK(info.block_bytes == fact.bytes);
    CHECK(dtype_from_gguf_id(fact.id) == fact.type);
    CHECK(dtype_from_name(fact.name) == fact.type);
    CHECK(row_bytes(fact.type, 3 * int64_t(fact.elems)) == 3 * size_t(fact.bytes));
    CHECK(row_bytes(fact.type, 0) == 0);
  }
}

TEST_CASE("dtype: numbers and names of no format are refused") {
  const auto known = [](uint32_t id) {
    return std::any_of(std::begin(kFacts), std::end(kFacts),
                       [id](const Fact& fact) { return fact.id == id; });
  };
  for (uint32_t id = 0; id < 0x5000; ++id) {
    CAPTURE(id);
    CHECK(dtype_from_gguf_id(id).has_value() == known(id));
  }
  CHECK(!dtype_from_gguf_id(0xffffffffu));
  CHECK(!dtype_from_gguf_id(0x80000000u));
  for (const char* name : {"", "q4", "q4_", "q4_K ", "q4_KK", "f33"}) {
    CAPTURE(name);
    CHECK(!dtype_from_name(name));
  }
}

TEST_CASE("dtype: names are found in any case") {
  CHECK(dtype_from_name("Q4_k") == DType::q4_K);
  CHECK(dtype_from_name("IQ2_XXS") == DType::iq2_XXS);
  CHECK(dtype_from_name("BF16") == DType::bf16);
}

}  // namespace
}  // namespace lm
