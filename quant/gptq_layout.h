// quant/gptq_layout.h — a stored matrix as a GPTQ module of the second format: the way back from
// the blocks that hold integers exactly (int_matrix.h).
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "quant/dtype.h"

namespace lm {

struct GptqShape {
  int bits = 0;
  int64_t group = 0;  // columns that share a scale; the row's length: all of them
  bool symmetric = false;
};

// A matrix of q4_0, q5_0, q8_0 or i4g* blocks.
struct StoredMatrix {
  DType type;
  const std::byte* blocks;  // [rows][cols]
  int64_t rows, cols;
};

// What the blocks can be written as without changing a number. `wanted`: bits and group as the
// checkpoint had them that the file was made from; they are kept where the blocks agree.
// nullopt: another type, or rows and columns that fill no words.
std::optional<GptqShape> gptq_shape(const StoredMatrix& matrix, std::optional<GptqShape> wanted);

// The tensors of the module, [out] rows and [in] columns in the orders given: row n of the module
// is row rows[n] of the matrix, column k is column cols[k]. Empty: as they are.
struct GptqTensors {
  std::vector<uint32_t> qweight;  // [cols / 32 · bits, rows]
  std::vector<uint32_t> qzeros;   // [groups, rows / 32 · bits]
  std::vector<uint16_t> scales;   // f16 [groups, rows]
  std::vector<int32_t> g_idx;     // [cols]
};
GptqTensors gptq_tensors(const StoredMatrix& matrix, const GptqShape& shape,
                         std::span<const int32_t> rows, std::span<const int32_t> cols);

}  // namespace lm
