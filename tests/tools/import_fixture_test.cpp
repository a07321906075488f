// Slices of real GPTQ and AWQ checkpoints against the dequantization that their own libraries give.
#include <cstring>
#include <map>

#include "engine/core/file.h"
#include "engine/tools/hf_quantization.h"
#include "quant/decode.h"
#include "quant/half.h"
#include "tests/support/support.h"

namespace lm::test {
namespace {

using safetensors::ElementType;

// A header of 32-bit numbers, then blocks of the lengths that its last `n_blocks` give.
struct Slice {
  std::string bytes;
  std::vector<uint32_t> header;
  std::vector<std::span<const std::byte>> blocks;

  Slice(const std::filesystem::path& path, size_t n_header, size_t n_blocks)
      : bytes(require_ok(read_file(path, 1 << 26))) {
    header.resize(n_header);
    REQUIRE(bytes.size() >= n_header * 4);
    std::memcpy(header.data(), bytes.data(), n_header * 4);
    size_t at = n_header * 4;
    for (size_t i = n_header - n_blocks; i < n_header; ++i) {
      REQUIRE(at + header[i] <= bytes.size());
      blocks.push_back(std::as_bytes(std::span(bytes)).subspan(at, header[i]));
      at += header[i];
    }
    REQUIRE(at == bytes.size());
  }
};

ElementType scale_type(uint32_t id) {
  return id == 0 ? ElementType::f32 : id == 1 ? ElementType::bf16 : ElementType::f16;
}

// Every number through the view, and through the blocks of the type that is said to be exact.
void check_numbers(const IntMatrix& m, std::span<const std::byte> expected) {
  REQUIRE(expected.size() == size_t(m.rows * m.cols * 2));
  const IntMatrixRange range = range_of(m);
  REQUIRE(range.scales_finite);
  const std::optional<DType> type = exact_type(m.bits(), range, uniform_run(m, nullptr), false);
  REQUIRE(type.has_value());
  MESSAGE(m.rows, " × ", m.cols, " as ", std::string(dtype_name(*type)));
  IntRowEncoder encoder(m, nullptr, *type);
  std::vector<float> numbers(size_t(m.cols)), decoded(size_t(m.cols));
  std::vector<std::byte> blocks(row_bytes(*type, m.cols));
  size_t wrong = 0;
  for (int64_t n = 0; n < m.rows; ++n) {
    encoder.numbers(n, numbers.data());
    encoder.encode(n, blocks.data());
    decode(*type, blocks.data(), decoded.data(), m.cols);
    for (int64_t k = 0; k < m.cols; ++k) {
      uint16_t want;  // [in, out]
      std::memcpy(&want, expected.data() + 2 * (k * m.rows + n), sizeof want);
      wrong += f32_to_bf16(numbers[size_t(k)]) == want ? 0 : 1;
      if (range.scales_exact_in_f16) wrong += decoded[size_t(k)] == numbers[size_t(k)] ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
}

IntMatrix bind(const hf::Quantization& quantization, int64_t rows, int64_t cols,
               const std::map<std::string, safetensors::TensorInfo>& tensors) {
  hf::QuantizationNotes notes;
  const hf::UseTensor use = [&](const std::string& name) {
    const auto at = tensors.find(name);
    return at == tensors.end() ? nullptr : &at->second;
  };
  const auto bound = require_ok(hf::bind_int_matrix(quantization, "m", rows, cols, use, notes));
  REQUIRE(bound.has_value());
  return *bound;
}

TEST_CASE("fixtures: GPTQ slices") {
  LM_FIXTURE(folder, "quant/gptq");
  for (const char* name : {"llama_3_2_1b_int4.bin", "llama_3_2_1b_gptqmodel_int8.bin"}) {
    CAPTURE(name);
    const Slice slice(folder / name, 11, 5);
    const int64_t bits = slice.header[0], group = int32_t(slice.header[1]);
    const int64_t cols = slice.header[2], rows = slice.header[3];
    const int64_t n_groups = group < 0 ? 1 : (cols + group - 1) / group;
    std::map<std::string, safetensors::TensorInfo> tensors{
        {"m.qweight", {"m.qweight", ElementType::i32, {cols * bits / 32, rows}, slice.blocks[0]}},
        {"m.scales", {"m.scales", scale_type(slice.header[4]), {n_groups, rows}, slice.blocks[1]}},
        {"m.qzeros",
         {"m.qzeros", ElementType::i32, {n_groups, rows * bits / 32}, slice.blocks[2]}}};
    if (slice.header[5] != 0)
      tensors["m.g_idx"] = {"m.g_idx", ElementType::i32, {cols}, slice.blocks[3]};
    check_numbers(bind({.layout = hf::Quantization::Layout::gptq,
                        .name = "gptq",
                        .bits = bits,
                        .group_size = group,
                        .zeros_minus_one = true},
                       rows, cols, tensors),
                  slice.blocks[4]);
  }
}

TEST_CASE("fixtures: an AWQ slice") {
  LM_FIXTURE(path, "quant/awq/llama_3_2_1b_awq.bin");
  const Slice slice(path, 9, 4);
  const int64_t group = slice.header[1], cols = slice.header[2], rows = slice.header[3];
  const int64_t n_groups = (cols + group - 1) / group;
  check_numbers(
      bind({.layout = hf::Quantization::Layout::awq_gemm,
            .name = "awq",
            .bits = slice.header[0],
            .group_size = group},
           rows, cols,
           {{"m.qweight", {"m.qweight", ElementType::i32, {cols, rows / 8}, slice.blocks[0]}},
            {"m.scales",
             {"m.scales", scale_type(slice.header[4]), {n_groups, rows}, slice.blocks[1]}},
            {"m.qzeros", {"m.qzeros", ElementType::i32, {n_groups, rows / 8}, slice.blocks[2]}}}),
      slice.blocks[3]);
}

}  // namespace
}  // namespace lm::test
