// backends/cuda/attention_fragments.cuh — keys and values on their way from the cache to the tensor
// cores, 16 keys at a time and without shared memory: each lane loads 16 bytes of a row, and which
// dimension of the head stands at which place of a product is chosen so that these bytes are the
// lane's operands (any order does, if queries and outputs have the same).
//
// Lane = 4g + t. Scores, S[queries, keys] = Q K^T: step s of 16 dimensions takes dimensions
// query_dim(s, t) .. + 3 of lane t. Outputs, O[queries, dims] = P V: tile n of 8 columns is, for
// its column c, dimension output_dim(n, c). P's operand is S's result, lane by lane.
#pragma once
#include <cuda_fp16.h>

#include <cstdint>

#include "backends/cuda/kv_layout.cuh"
#include "backends/cuda/ptx.cuh"

namespace lm::cuda {

inline constexpr int kChunk = 16;  // keys

// Where the dimensions of a head of kDim (a multiple of 16) stand.
template <int kDim>
struct HeadDims {
  static constexpr int kSteps = kDim / 16, kTiles = kDim / 8;
  static constexpr int kBlocks64 = kDim / 64;  // then perhaps a block of 32, and one of 16
  static constexpr bool kHas32 = kDim % 64 >= 32, kHas16 = kDim % 32 >= 16;

  __device__ static int query_dim(int step, int t) {
    return step / 2 * 32 + (step / 2 < kDim / 32 ? 8 * t + step % 2 * 4 : 4 * t);
  }
  __device__ static int output_dim(int tile, int column) {
    if (tile < 8 * kBlocks64) return tile / 8 * 64 + column * 8 + tile % 8;
    const int rest = tile - 8 * kBlocks64;
    if (kHas32 && rest < 4) return 64 * kBlocks64 + column * 4 + rest;
    return kDim - 16 + column * 2 + rest % 2;
  }
};

// Words w0 and w1 hold two halves each, of two keys: one product's operand for each half.
__device__ inline uint32_t low_halves(uint32_t w0, uint32_t w1) {
  return __byte_perm(w0, w1, 0x5410);
}
__device__ inline uint32_t high_halves(uint32_t w0, uint32_t w1) {
  return __byte_perm(w0, w1, 0x7632);
}

__device__ inline uint32_t bits_of(__half2 x) {
  return uint32_t(__half_as_ushort(__low2half(x))) | uint32_t(__half_as_ushort(__high2half(x)))
                                                         << 16;
}
__device__ inline __half2 halves_of(uint32_t bits) {
  return __halves2half2(__ushort_as_half(uint16_t(bits & 0xFFFF)),
                        __ushort_as_half(uint16_t(bits >> 16)));
}

// Bytes 0 and 1 (or 2 and 3) of `biased`, each 128 more than a signed byte, as halves: 0x6400 is
// 1024, whose last bit counts one.
template <bool kHigh>
__device__ inline __half2 halves_of_bytes(uint32_t biased) {
  const __half2 x = halves_of(__byte_perm(biased, 0x64646464u, kHigh ? 0x4342 : 0x4140));
  return __hsub2(x, __half2half2(__ushort_as_half(0x6480)));  // 1152
}

template <class Word>
__device__ inline Word load_or_zero(const void* p, bool valid) {
  return valid ? *static_cast<const Word*>(p) : Word{};
}

// The 16 keys of a chunk: rows token .. token + 15 of a block and head.
struct ChunkAddress {
  const std::byte* head;
  int token;
};

template <int kDim>
struct F16Chunk {
  using Dims = HeadDims<kDim>;
  static constexpr DType kType = DType::f16;
  struct Keys {
    uint32_t w[2][Dims::kSteps][2];
  };
  struct Values {
    uint32_t w[4][kDim / 16];
  };

  __device__ static void load_keys(const KvCacheView&, ChunkAddress at, int g, int t, Keys& keys) {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const std::byte* row = at.head + (at.token + 8 * n + g) * (kDim * 2);
#pragma unroll
      for (int b = 0; b < kDim / 32; ++b) {
        const uint4 x = *reinterpret_cast<const uint4*>(row + 64 * b + 16 * t);
        keys.w[n][2 * b][0] = x.x;
        keys.w[n][2 * b][1] = x.y;
        keys.w[n][2 * b + 1][0] = x.z;
        keys.w[n][2 * b + 1][1] = x.w;
      }
      if constexpr (Dims::kHas16) {
        const uint2 x = *reinterpret_cast<const uint2*>(row + (kDim - 16) * 2 + 8 * t);
        keys.w[n][Dims::kSteps - 1][0] = x.x;
        keys.w[n][Dims::kSteps - 1][1] = x.y;
      }
    }
  }

  // Key i of a lane is 2t, 2t + 1, 8 + 2t, 9 + 2t; zeros where it is not among `valid`.
  __device__ static void load_values(const KvCacheView&, ChunkAddress at, int g, int t,
                                     uint32_t valid, Values& values) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = i / 2 * 8 + 2 * t + i % 2;
      const bool there = (valid >> key & 1) != 0;
      const std::byte* row = at.head + (at.token + key) * (kDim * 2);
#pragma unroll
      for (int b = 0; b < Dims::kBlocks64; ++b) {
        const uint4 x = load_or_zero<uint4>(row + 128 * b + 16 * g, there);
        values.w[i][4 * b] = x.x;
        values.w[i][4 * b + 1] = x.y;
        values.w[i][4 * b + 2] = x.z;
        values.w[i][4 * b + 3] = x.w;
      }
      if constexpr (Dims::kHas32) {
        const uint2 x = load_or_zero<uint2>(row + 128 * Dims::kBlocks64 + 8 * g, there);
        values.w[i][4 * Dims::kBlocks64] = x.x;
        values.w[i][4 * Dims::kBlocks64 + 1] = x.y;
      }
      if constexpr (Dims::kHas16) {
        values.w[i][kDim / 16 - 1] = load_or_zero<uint32_t>(row + (kDim - 16) * 2 + 4 * g, there);
      }
    }
  }

  // queries: for each step and lane its four words, in shared memory.
  __device__ static void score(const Keys& keys, const uint4* queries, int lane,
                               float (&scores)[2][4]) {
#pragma unroll
    for (int step = 0; step < Dims::kSteps; ++step) {
      const uint4 x = queries[step * 32 + lane];
      const uint32_t q[4] = {x.x, x.y, x.z, x.w};
      mma_f16(scores[0], q, keys.w[0][step]);
      mma_f16(scores[1], q, keys.w[1][step]);
    }
  }

  __device__ static void add(const Values& values, const uint32_t (&weights)[4],
                             float (&sums)[Dims::kTiles][4]) {
#pragma unroll
    for (int w = 0; w < kDim / 16; ++w) {
      const uint32_t even[2] = {low_halves(values.w[0][w], values.w[1][w]),
                                low_halves(values.w[2][w], values.w[3][w])};
      const uint32_t odd[2] = {high_halves(values.w[0][w], values.w[1][w]),
                               high_halves(values.w[2][w], values.w[3][w])};
      mma_f16(sums[2 * w], weights, even);
      mma_f16(sums[2 * w + 1], weights, odd);
    }
  }
};

// Scores are summed block by block of 32 dimensions and then scaled; values are scaled as halves.
template <int kDim>
struct Q8Chunk {
  using Dims = HeadDims<kDim>;
  static constexpr DType kType = DType::q8_0;
  static constexpr int kBlocks = kDim / 32;
  struct Keys {
    uint32_t w[2][kBlocks][2];
    uint16_t scales[4][kBlocks];  // of keys 2t, 2t + 1, 8 + 2t, 9 + 2t
  };
  struct Values {
    uint32_t w[4][kDim / 32];
    uint16_t scales[4][kBlocks];
  };

  __device__ static void load_scales(const KvCacheView& cache, ChunkAddress at, int t,
                                     uint16_t (&scales)[4][kBlocks]) {
    const std::byte* all = at.head + cache.block_size * kDim;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = at.token + i / 2 * 8 + 2 * t + i % 2;
      const uint16_t* row = reinterpret_cast<const uint16_t*>(all) + key * kBlocks;
      if constexpr (kBlocks % 4 == 0) {
#pragma unroll
        for (int b = 0; b < kBlocks; b += 4) {
          const uint2 x = *reinterpret_cast<const uint2*>(row + b);
          scales[i][b] = uint16_t(x.x & 0xFFFF);
          scales[i][b + 1] = uint16_t(x.x >> 16);
          scales[i][b + 2] = uint16_t(x.y & 0xFFFF);
          scales[i][b + 3] = uint16_t(x.y >> 16);
        }
      } else {
#pragma unroll
        for (int b = 0; b < kBlocks; ++b) scales[i][b] = row[b];
      }
    }
  }

  __device__ static void load_keys(const KvCacheView& cache, ChunkAddress at, int g, int t,
                                   Keys& keys) {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const std::byte* row = at.head + (at.token + 8 * n + g) * kDim;
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        const uint2 x = *reinterpret_cast<const uint2*>(row + 32 * b + 8 * t);
        keys.w[n][b][0] = x.x ^ 0x80808080u;
        keys.w[n][b][1] = x.y ^ 0x80808080u;
      }
    }
    load_scales(cache, at, t, keys.scales);
  }

  __device__ static void load_values(const KvCacheView& cache, ChunkAddress at, int g, int t,
                                     uint32_t valid, Values& values) {
    load_scales(cache, at, t, values.scales);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = i / 2 * 8 + 2 * t + i % 2;
      const std::byte* row = at.head + (at.token + key) * kDim;
#pragma unroll
      for (int b = 0; b < Dims::kBlocks64; ++b) {
        const uint2 x = *reinterpret_cast<const uint2*>(row + 64 * b + 8 * g);
        values.w[i][2 * b] = x.x ^ 0x80808080u;
        values.w[i][2 * b + 1] = x.y ^ 0x80808080u;
      }
      if constexpr (Dims::kHas32) {
        const uint32_t x = *reinterpret_cast<const uint32_t*>(row + 64 * Dims::kBlocks64 + 4 * g);
        values.w[i][2 * Dims::kBlocks64] = x ^ 0x80808080u;
      }
      if ((valid >> key & 1) == 0) {  // any bytes are numbers; only a scale can spoil a sum
#pragma unroll
        for (int b = 0; b < kBlocks; ++b) values.scales[i][b] = 0;
      }
    }
  }

  __device__ static void score(const Keys& keys, const uint4* queries, int lane,
                               float (&scores)[2][4]) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      float dots[2][4] = {};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const uint4 x = queries[(2 * b + half) * 32 + lane];
        const uint32_t q[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          const uint32_t k[2] = {bits_of(halves_of_bytes<false>(keys.w[n][b][half])),
                                 bits_of(halves_of_bytes<true>(keys.w[n][b][half]))};
          mma_f16(dots[n], q, k);
        }
      }
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float scale = __half2float(__ushort_as_half(keys.scales[2 * n + i % 2][b]));
          scores[n][i] = fmaf(dots[n][i], scale, scores[n][i]);
        }
      }
    }
  }

  // Two keys' four bytes each, as operands of four tiles.
  template <int kPair>
  __device__ static void widen(uint32_t w0, uint32_t w1, __half2 scales,
                               uint32_t (&operands)[4][2]) {
    const uint32_t low = __byte_perm(w0, w1, 0x5140), high = __byte_perm(w0, w1, 0x7362);
    operands[0][kPair] = bits_of(__hmul2(halves_of_bytes<false>(low), scales));
    operands[1][kPair] = bits_of(__hmul2(halves_of_bytes<true>(low), scales));
    operands[2][kPair] = bits_of(__hmul2(halves_of_bytes<false>(high), scales));
    operands[3][kPair] = bits_of(__hmul2(halves_of_bytes<true>(high), scales));
  }

  __device__ static void add(const Values& values, const uint32_t (&weights)[4],
                             float (&sums)[Dims::kTiles][4]) {
    const bool second = (threadIdx.x % 32) / 4 >= 4;  // half of a block of 64: lanes g >= 4
#pragma unroll
    for (int w = 0; w < kDim / 32; ++w) {
      const auto scale_of = [&](int i) {
        const bool tail = w >= 2 * Dims::kBlocks64;
        const int first = w / 2 * 2;
        return __ushort_as_half(!tail && second ? values.scales[i][tail ? first : first + 1]
                                                : values.scales[i][first]);
      };
      uint32_t operands[4][2];
      widen<0>(values.w[0][w], values.w[1][w], __halves2half2(scale_of(0), scale_of(1)), operands);
      widen<1>(values.w[2][w], values.w[3][w], __halves2half2(scale_of(2), scale_of(3)), operands);
#pragma unroll
      for (int i = 0; i < 4; ++i) mma_f16(sums[4 * w + i], weights, operands[i]);
    }
  }
};

}  // namespace lm::cuda
