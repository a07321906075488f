// quant/int_matrix.h — a matrix of integers with a scale and a zero-point for each group of
// columns, as GPTQ, AWQ and compressed-tensors checkpoints hold it:
//   w[n][k] = scale[n][g] · (q[n][k] - zero[n][g]),  g = group of k.
// The views below look into a mapped file; who makes them has checked every shape and index.
// Which stored block type holds such a matrix exactly, and the blocks themselves.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "quant/dtype.h"
#include "quant/packed_ints.h"

namespace lm {

using Order = std::shared_ptr<const std::vector<int32_t>>;  // null: 0, 1, 2, ...

struct IntMatrix {
  int64_t rows = 0, cols = 0;  // n, k
  int64_t n_groups = 0, group_size = 0;
  Order group_of;  // [cols]; null: k / group_size

  PackedInts q;
  bool q_along_cols = true;  // a stream is a row of the matrix; else a column
  int constant_zero = 0;     // where zeros.data is null
  PackedInts zeros;
  bool zeros_along_groups = false;  // a stream is a row's groups; else a group's rows

  const std::byte* scales = nullptr;
  DType scale_type = DType::f16;                     // f16, bf16 or f32
  int64_t scale_row_step = 0, scale_group_step = 0;  // in elements

  int bits() const { return q.bits; }
  int64_t group(int64_t k) const { return group_of ? (*group_of)[size_t(k)] : k / group_size; }
  float scale(int64_t row, int64_t group) const;
  int zero(int64_t row, int64_t group) const;
  // out[k] = q of a row, in the matrix's own order.
  void read_row(int64_t row, uint8_t* out) const;
};

// The bounds within which all of a matrix's scales and zero-points lie.
struct IntMatrixRange {
  bool scales_finite = true, scales_exact_in_f16 = true, scales_below_f16_max = true;
  int least_zero = 255, greatest_zero = 0;
};
IntMatrixRange range_of(const IntMatrix& matrix);

// Numbers of a row in a group of `order`'s columns: the longest run, of 128, 64 or 32, that divides
// the row so that each run lies within one group. 0: none does.
int64_t uniform_run(const IntMatrix& matrix, const Order& order);

// The smallest type that holds scale · (q - zero) bit for bit, given runs of `run` columns that
// share a group: q4_0, i4g*, q5_0 or q8_0; with `standard_only` no i4g*. nullopt: none (`run` is
// 0, or differences of 9 bits). Scales are the caller's to judge: they are rounded to f16.
std::optional<DType> exact_type(int bits, const IntMatrixRange& range, int64_t run,
                                bool standard_only);

// One row of blocks of a type that exact_type() gave. q and group index the matrix's own columns;
// block column j holds column order[j].
class IntRowEncoder {
 public:
  IntRowEncoder(const IntMatrix& matrix, Order order, DType type);
  void encode(int64_t row, std::byte* dst);
  // The same row as numbers: f32(scale) · (q - zero).
  void numbers(int64_t row, float* out);

 private:
  void read(int64_t row);

  const IntMatrix& matrix_;
  Order order_;
  DType type_;
  std::vector<uint8_t> stored_, q_;  // [cols] as stored; in block order
  std::vector<int32_t> group_;       // [cols] of block columns
};

}  // namespace lm
