// quant/block_grid.h — the numbers that a block can hold once its scales are fixed. Methods that
// choose the codes themselves (error feedback, clipping) work on this: first scales, then a grid of
// evenly spaced values for each number, then codes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "quant/dtype.h"

namespace lm {

inline constexpr int kMaxGridElems = 256;  // numbers in the largest block

// How numbers are stored: a type, and in the groups of i4g32/64/128 also 2 or 3 bits, or scales
// that are symmetric around 0 (the zero-point is then half of the range).
struct GridFormat {
  DType type = DType::q4_0;
  int bits = 4;            // i4g: 2, 3, 4; of no meaning to other types
  bool symmetric = false;  // i4g

  int block_elems() const { return dtype_info(type).block_elems; }
  size_t block_bytes() const { return size_t(dtype_info(type).block_bytes); }
};

// Whether the type is evenly spaced once its scales are fixed (q4_0 .. q8_0, i4g*, q2_K .. q6_K,
// tq*).
bool has_grid(DType type);

// Codes are whole numbers of [0, most_code].
int most_code(const GridFormat& format);

// Number j of a block is offset[j] + q * step[j], q a whole number of [0, q_max].
struct BlockGrid {
  int q_max = 0;
  float step[kMaxGridElems];
  float offset[kMaxGridElems];
};

// The code of [0, q_max] whose number is nearest to x; NaN: some code.
inline int nearest_code(float x, float step, float offset, int q_max) {
  const float v = (x - offset) * (step != 0 ? 1 / step : 0.0f);
  if (!(v > 0)) return 0;
  return v < float(q_max) ? int(v + 0.5f) : q_max;
}

// Scales for x[0 .. block). Without importance the type's plain definition; with it (>= 0 for each
// number) a search for the least weighted squared error. `clip`: the outer part of the range that
// is given up, [0, 1). The block's codes are not meaningful yet.
void choose_scales(const GridFormat& format, const float* x, const float* importance, float clip,
                   std::byte* block);

void read_grid(const GridFormat& format, const std::byte* block, BlockGrid& grid);

// The codes [0 .. block) of a block whose scales are chosen.
void write_codes(DType type, const int* q, std::byte* block);

// The nearest codes of x.
void write_nearest(const GridFormat& format, const BlockGrid& grid, const float* x,
                   std::byte* block);

// Whole rows: scales as choose_scales() has them, nearest codes. `importance` is empty or [n].
void round_to_nearest(const GridFormat& format, std::span<const float> row,
                      std::span<const float> importance, std::byte* dst);

}  // namespace lm
