// quant/codebooks.cpp — the code books, spelled out from their compact codes by the compiler.
#include "quant/codebooks.h"

#include "quant/codebook_codes.h"

namespace lm {

const int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                               1,    13,   25,  38,  53,  69,  89,  113};
const int8_t kMxfp4DoubledValues[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

namespace {

// What the 2-bit and 3-bit digits of a code stand for.
constexpr int8_t kIq1Levels[4] = {-1, 0, 1, 0};  // the fourth never occurs
constexpr uint8_t kIq2Levels[4] = {8, 25, 43, 0};
constexpr uint8_t kIq3XxsLevels[8] = {4, 12, 20, 28, 36, 44, 52, 62};
constexpr uint8_t kIq3SLevels[8] = {1, 3, 5, 7, 9, 11, 13, 15};

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

}  // namespace

constexpr Grid<int8_t, 2048, 8> kIq1Grid = expand(kIq1Codes, kIq1Levels);
constexpr Grid<uint8_t, 256, 8> kIq2XxsGrid = expand(kIq2XxsCodes, kIq2Levels);
constexpr Grid<uint8_t, 512, 8> kIq2XsGrid = expand(kIq2XsCodes, kIq2Levels);
constexpr Grid<uint8_t, 1024, 8> kIq2SGrid = expand(kIq2SCodes, kIq2Levels);
constexpr Grid<uint8_t, 256, 4> kIq3XxsGrid = expand(kIq3XxsCodes, kIq3XxsLevels);
constexpr Grid<uint8_t, 512, 4> kIq3SGrid = expand(kIq3SCodes, kIq3SLevels);

}  // namespace lm
