// backends/cuda/decode.cuh — the numbers of a file's rows in device memory, eight at a time, for
// every type. The formats are the quant room's (quant/decode_block.h), compiled for the device: bit
// for bit what decode() makes of them. Only the code books are copies, made from the same codes.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "quant/codebook_grids.h"
#include "quant/decode_block.h"
#include "quant/dtype.h"

namespace lm::cuda {

__device__ const Grid<int8_t, 1, 16> kDeviceIq4 = as_grid(kIq4Values);
__device__ const Grid<int8_t, 1, 16> kDeviceMxfp4Doubled = as_grid(kMxfp4DoubledValues);
__device__ const Grid<int8_t, 2048, 8> kDeviceIq1 = expand(kIq1Codes, kIq1Levels);
__device__ const Grid<uint8_t, 256, 8> kDeviceIq2Xxs = expand(kIq2XxsCodes, kIq2Levels);
__device__ const Grid<uint8_t, 512, 8> kDeviceIq2Xs = expand(kIq2XsCodes, kIq2Levels);
__device__ const Grid<uint8_t, 1024, 8> kDeviceIq2S = expand(kIq2SCodes, kIq2Levels);
__device__ const Grid<uint8_t, 256, 4> kDeviceIq3Xxs = expand(kIq3XxsCodes, kIq3XxsLevels);
__device__ const Grid<uint8_t, 512, 4> kDeviceIq3S = expand(kIq3SCodes, kIq3SLevels);

__device__ inline Codebooks device_codebooks() {
  return {.iq4 = kDeviceIq4.rows[0],
          .mxfp4_doubled = kDeviceMxfp4Doubled.rows[0],
          .iq1 = &kDeviceIq1,
          .iq2_xxs = &kDeviceIq2Xxs,
          .iq2_xs = &kDeviceIq2Xs,
          .iq2_s = &kDeviceIq2S,
          .iq3_xxs = &kDeviceIq3Xxs,
          .iq3_s = &kDeviceIq3S};
}

// Numbers 8 * i .. of a row of blocks.
template <class Block>
__device__ inline void eight_of_blocks(const std::byte* row, int64_t i, float (&out)[8]) {
  constexpr int kEights = Block::kElems / 8;
  const Block& block = reinterpret_cast<const Block*>(row)[i / kEights];
  decode_eight_of(block, int(i % kEights), device_codebooks(), out);
}

// Numbers 8 * i .. of a row of k plain numbers, zeros behind its end. kTo(number) is an f32.
template <class Number, class To>
__device__ inline void eight_of_numbers(const std::byte* row, int64_t i, int64_t k, const To& to,
                                        float (&out)[8]) {
  const Number* numbers = reinterpret_cast<const Number*>(row);
  for (int j = 0; j < 8; ++j) out[j] = 8 * i + j < k ? to(numbers[8 * i + j]) : 0.0f;
}

// The plain types.
__device__ inline bool eight_of_plain(DType type, const std::byte* row, int64_t i, int64_t k,
                                      float (&out)[8]) {
  const auto convert = [](auto number) { return float(number); };
  switch (type) {
    case DType::f32:
      eight_of_numbers<float>(row, i, k, convert, out);
      return true;
    case DType::f64:
      eight_of_numbers<double>(row, i, k, convert, out);
      return true;
    case DType::i8:
      eight_of_numbers<int8_t>(row, i, k, convert, out);
      return true;
    case DType::i16:
      eight_of_numbers<int16_t>(row, i, k, convert, out);
      return true;
    case DType::i32:
      eight_of_numbers<int32_t>(row, i, k, convert, out);
      return true;
    case DType::i64:
      eight_of_numbers<int64_t>(row, i, k, convert, out);
      return true;
    case DType::f16:
      eight_of_numbers<uint16_t>(row, i, k, f16_to_f32, out);
      return true;
    case DType::bf16:
      eight_of_numbers<uint16_t>(row, i, k, bf16_to_f32, out);
      return true;
    default:
      return false;
  }
}

// Numbers 8 * i .. 8 * i + 7 of a row of k numbers of any type; zeros behind the end of a row.
// The branch is the same for a whole kernel: one kernel serves all types. What must be faster than
// that has kernels of its own (planes.h).
__device__ inline void decode_eight(DType type, const std::byte* row, int64_t i, int64_t k,
                                    float (&out)[8]) {
  if (eight_of_plain(type, row, i, k, out)) return;
  switch (type) {
    case DType::q4_0:
      return eight_of_blocks<BlockQ4_0>(row, i, out);
    case DType::q4_1:
      return eight_of_blocks<BlockQ4_1>(row, i, out);
    case DType::q5_0:
      return eight_of_blocks<BlockQ5_0>(row, i, out);
    case DType::q5_1:
      return eight_of_blocks<BlockQ5_1>(row, i, out);
    case DType::q8_0:
      return eight_of_blocks<BlockQ8_0>(row, i, out);
    case DType::q8_1:
      return eight_of_blocks<BlockQ8_1>(row, i, out);
    case DType::q2_K:
      return eight_of_blocks<BlockQ2_K>(row, i, out);
    case DType::q3_K:
      return eight_of_blocks<BlockQ3_K>(row, i, out);
    case DType::q4_K:
      return eight_of_blocks<BlockQ4_K>(row, i, out);
    case DType::q5_K:
      return eight_of_blocks<BlockQ5_K>(row, i, out);
    case DType::q6_K:
      return eight_of_blocks<BlockQ6_K>(row, i, out);
    case DType::q8_K:
      return eight_of_blocks<BlockQ8_K>(row, i, out);
    case DType::iq1_S:
      return eight_of_blocks<BlockIQ1_S>(row, i, out);
    case DType::iq1_M:
      return eight_of_blocks<BlockIQ1_M>(row, i, out);
    case DType::iq2_XXS:
      return eight_of_blocks<BlockIQ2_XXS>(row, i, out);
    case DType::iq2_XS:
      return eight_of_blocks<BlockIQ2_XS>(row, i, out);
    case DType::iq2_S:
      return eight_of_blocks<BlockIQ2_S>(row, i, out);
    case DType::iq3_XXS:
      return eight_of_blocks<BlockIQ3_XXS>(row, i, out);
    case DType::iq3_S:
      return eight_of_blocks<BlockIQ3_S>(row, i, out);
    case DType::iq4_NL:
      return eight_of_blocks<BlockIQ4_NL>(row, i, out);
    case DType::iq4_XS:
      return eight_of_blocks<BlockIQ4_XS>(row, i, out);
    case DType::tq1_0:
      return eight_of_blocks<BlockTQ1_0>(row, i, out);
    case DType::tq2_0:
      return eight_of_blocks<BlockTQ2_0>(row, i, out);
    case DType::mxfp4:
      return eight_of_blocks<BlockMXFP4>(row, i, out);
    case DType::i4g32:
      return eight_of_blocks<BlockI4G<32>>(row, i, out);
    case DType::i4g64:
      return eight_of_blocks<BlockI4G<64>>(row, i, out);
    case DType::i4g128:
      return eight_of_blocks<BlockI4G<128>>(row, i, out);
    default:
      return;
  }
}

}  // namespace lm::cuda
