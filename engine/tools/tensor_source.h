// engine/tools/tensor_source.h — the numbers of one output tensor, gathered row by row from mapped
// input: a strided view for every change of order, the two halves of Hugging Face's MXFP4, packed
// integers, or 8-bit floats. Rows and columns may be read in another order: so a permutation of
// channels moves from one matrix into those before it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/core/result.h"
#include "engine/tools/hf_quantization.h"
#include "gguf/writer.h"
#include "quant/dtype.h"
#include "quant/int_matrix.h"

namespace lm::hf {

// A matrix per slice (an expert; otherwise there is one slice). All offsets were checked against
// the inputs' shapes when the source was planned.
struct TensorSource {
  DType stored = DType::f32;  // of plain slices: f32, f16, bf16 or mxfp4
  std::vector<const std::byte*> slices;
  int64_t rows = 0, cols = 0;  // of a slice, in the output
  // Element (r, c) lies at first + r * row_step + c * col_step elements of its slice.
  int64_t first = 0, row_step = 0, col_step = 1;
  int64_t rope_pairs = 0;  // > 0: output row order of llama's rope, heads of this many rows
  float add = 0;           // to every number
  // mxfp4: first and row_step count rows of cols / 32 groups; a group has 16 bytes in its slice and
  // a scale here.
  std::vector<const std::byte*> scales;

  // Instead of plain slices:
  std::vector<IntMatrix> ints;
  std::vector<Fp8Matrix> fp8;
  std::string scheme;  // of those: "gptq 4-bit g128", for people

  // Output row r (column c) is row orders[slice][r] of what the fields above describe. Empty: as it
  // is.
  std::vector<Order> row_orders, col_orders;

  size_t n_slices() const;
  bool plain() const { return ints.empty() && fp8.empty(); }
  int64_t input_row(size_t slice, int64_t row) const;  // after row_orders and rope_pairs
  Order col_order(size_t slice) const { return col_orders.empty() ? nullptr : col_orders[slice]; }
};

// Rows [first_row, first_row + n_rows) of a plain slice, densely, in `stored`; no orders.
void read_rows(const TensorSource& source, size_t slice, int64_t first_row, int64_t n_rows,
               std::byte* out);

// A slice's rows as numbers, whatever it is stored as.
class NumberReader {
 public:
  NumberReader(const TensorSource& source, size_t slice);
  void read(int64_t row, float* out);

 private:
  const TensorSource& source_;
  size_t slice_;
  std::vector<IntRowEncoder> ints_;  // one, of packed integers
  std::vector<std::byte> stored_;
  std::vector<float> unordered_;
};

// How far the written numbers are from the source's.
struct ConversionError {
  double largest = 0;             // |written - source|
  double squares = 0, total = 0;  // Σ (written - source)², Σ source²
  bool exact = true;              // every number has the same bits
  double relative_rms() const;
};

// How a tensor is written: copied or recoded as integers where `type` holds them, else encoded.
enum class Recoding : uint8_t { as_stored, integers, numbers };

// The whole tensor in `type`, a few rows at a time. `error`, if given, is measured on the way.
Status stream_tensor(const TensorSource& source, DType type, Recoding recoding,
                     ConversionError* error, const gguf::Writer::Sink& sink);

// Adds the difference between written blocks and the numbers of their row.
void measure(DType type, const std::byte* written, std::span<const float> numbers,
             std::vector<float>& scratch, ConversionError& error);

}  // namespace lm::hf
