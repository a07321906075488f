// engine/tools/tensor_source.h — the numbers of one output tensor, gathered row by row from mapped
// input: a strided view for every change of order, or the two halves of Hugging Face's MXFP4.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/core/result.h"
#include "gguf/writer.h"
#include "quant/dtype.h"

namespace lm::hf {

// A matrix per slice (an expert; otherwise there is one slice). All offsets were checked against
// the inputs' shapes when the source was planned.
struct TensorSource {
  DType stored = DType::f32;  // what read_rows() gives: f32, f16, bf16 or mxfp4
  std::vector<const std::byte*> slices;
  int64_t rows = 0, cols = 0;  // of a slice, in the output
  // Element (r, c) lies at first + r * row_step + c * col_step elements of its slice.
  int64_t first = 0, row_step = 0, col_step = 1;
  int64_t rope_pairs = 0;  // > 0: output row order of llama's rope, heads of this many rows
  float add = 0;           // to every number
  // mxfp4: first and row_step count rows of cols / 32 groups; a group has 16 bytes in its slice and
  // a scale here.
  std::vector<const std::byte*> scales;
};

// Rows [first_row, first_row + n_rows) of a slice, densely, in `stored`.
void read_rows(const TensorSource& source, size_t slice, int64_t first_row, int64_t n_rows,
               std::byte* out);

// The whole tensor in `type`, a few rows at a time.
Status stream_tensor(const TensorSource& source, DType type, const gguf::Writer::Sink& sink);

}  // namespace lm::hf
