// quant/codebooks.cpp — the code books, spelled out from their compact codes by the compiler.
#include "quant/codebooks.h"

#include "quant/codebook_grids.h"

namespace lm {

constexpr Grid<int8_t, 2048, 8> kIq1Grid = expand(kIq1Codes, kIq1Levels);
constexpr Grid<uint8_t, 256, 8> kIq2XxsGrid = expand(kIq2XxsCodes, kIq2Levels);
constexpr Grid<uint8_t, 512, 8> kIq2XsGrid = expand(kIq2XsCodes, kIq2Levels);
constexpr Grid<uint8_t, 1024, 8> kIq2SGrid = expand(kIq2SCodes, kIq2Levels);
constexpr Grid<uint8_t, 256, 4> kIq3XxsGrid = expand(kIq3XxsCodes, kIq3XxsLevels);
constexpr Grid<uint8_t, 512, 4> kIq3SGrid = expand(kIq3SCodes, kIq3SLevels);

}  // namespace lm
