// quant/codebook_grids.h — makes the code books from their compact codes, in the compiler: for the
// host's tables (codebooks.cpp) and for those of a device, whose code can't read the host's.
#pragma once
#include "quant/codebook_codes.h"
#include "quant/codebooks.h"

namespace lm {

// What the 2-bit and 3-bit digits of a code stand for.
inline constexpr int8_t kIq1Levels[4] = {-1, 0, 1, 0};  // the fourth never occurs
inline constexpr uint8_t kIq2Levels[4] = {8, 25, 43, 0};
inline constexpr uint8_t kIq3XxsLevels[8] = {4, 12, 20, 28, 36, 44, 52, 62};
inline constexpr uint8_t kIq3SLevels[8] = {1, 3, 5, 7, 9, 11, 13, 15};

// A code is 8 digits of 2 bits or 4 of 3.
template <class T, int n, int n_levels>
constexpr auto expand(const uint16_t (&codes)[n], const T (&levels)[n_levels]) {
  constexpr int kBits = n_levels == 4 ? 2 : 3;
  constexpr int kWidth = n_levels == 4 ? 8 : 4;
  Grid<T, n, kWidth> grid{};
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < kWidth; ++j) {
      grid.rows[i][j] = levels[codes[i] >> (kBits * j) & (n_levels - 1)];
    }
  }
  return grid;
}

// The same numbers as an object that can be copied.
template <class T, int n>
constexpr Grid<T, 1, n> as_grid(const T (&values)[n]) {
  Grid<T, 1, n> grid{};
  for (int i = 0; i < n; ++i) grid.rows[0][i] = values[i];
  return grid;
}

}  // namespace lm
