// quant/codebooks.h — tables that formats refer to by index. They are part of the formats.
// Source: ggml-common.h of ggml; MXFP4's values are E2M1 of the OCP Microscaling Formats v1.0.
#pragma once
#include <cstdint>

namespace lm {

// None is inline: files for one instruction set export nothing.

// IQ4_NL and IQ4_XS.
constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};
// MXFP4: twice the E2M1 value, so that all are whole.
constexpr int8_t kMxfp4DoubledValues[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                            0, -1, -2, -3, -4, -6, -8, -12};

// n rows of `width` numbers. IQ1: signed numbers; the others: magnitudes, whose signs a block
// stores elsewhere.
template <class T, int n, int width>
struct Grid {
  T rows[n][width];
};
extern const Grid<int8_t, 2048, 8> kIq1Grid;
extern const Grid<uint8_t, 256, 8> kIq2XxsGrid;
extern const Grid<uint8_t, 512, 8> kIq2XsGrid;
extern const Grid<uint8_t, 1024, 8> kIq2SGrid;
extern const Grid<uint8_t, 256, 4> kIq3XxsGrid;
extern const Grid<uint8_t, 512, 4> kIq3SGrid;

// Where a decoder finds them: a device has its own.
struct Codebooks {
  const int8_t* iq4;
  const int8_t* mxfp4_doubled;
  const Grid<int8_t, 2048, 8>* iq1;
  const Grid<uint8_t, 256, 8>* iq2_xxs;
  const Grid<uint8_t, 512, 8>* iq2_xs;
  const Grid<uint8_t, 1024, 8>* iq2_s;
  const Grid<uint8_t, 256, 4>* iq3_xxs;
  const Grid<uint8_t, 512, 4>* iq3_s;
};

}  // namespace lm
