// backends/cuda/kv_layout.cuh — where a head's keys and values lie within a block of the KV cache:
// token by token, so that a row of head_dim numbers is contiguous. The bytes of one block and head,
// B = block_size tokens of D = head_dim dimensions:
//   f32, f16  [B][D]
//   q8_0      bytes [B][D], then f16 scales [B][D/32]: so that 16 bytes lie together
// Together they are as many bytes as B rows of the type; a block is copied as a whole.
#pragma once
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "quant/dtype.h"

namespace lm::cuda {

// One cache of one layer, as a kernel sees it.
struct KvCacheView {
  std::byte* data;
  int64_t head_bytes;  // of a block and head
  int n_blocks, n_heads, block_size, head_dim;

  __device__ std::byte* head(int64_t block, int head) const {
    return data + (block * n_heads + head) * head_bytes;
  }
};

// The three types: at() is a number of the cache; four_at() are four of them, from a multiple of 4
// on, of a head of whole fours; store() is called by a warp, whose lanes hold 32 dimensions in a
// row, or nothing where `valid` is false.
struct F32Kv {
  static constexpr DType kType = DType::f32;
  __device__ static float at(const KvCacheView& c, const std::byte* head, int token, int dim) {
    return reinterpret_cast<const float*>(head)[int64_t(token) * c.head_dim + dim];
  }
  __device__ static float4 four_at(const KvCacheView& c, const std::byte* head, int token,
                                   int dim) {
    return reinterpret_cast<const float4*>(head)[(int64_t(token) * c.head_dim + dim) / 4];
  }
  __device__ static void store(const KvCacheView& c, std::byte* head, int token, int dim, float x,
                               bool valid) {
    if (valid) reinterpret_cast<float*>(head)[int64_t(token) * c.head_dim + dim] = x;
  }
};

struct F16Kv {
  static constexpr DType kType = DType::f16;
  __device__ static float at(const KvCacheView& c, const std::byte* head, int token, int dim) {
    return __half2float(reinterpret_cast<const __half*>(head)[int64_t(token) * c.head_dim + dim]);
  }
  __device__ static float4 four_at(const KvCacheView& c, const std::byte* head, int token,
                                   int dim) {
    const uint2 x = reinterpret_cast<const uint2*>(head)[(int64_t(token) * c.head_dim + dim) / 4];
    const auto low = [](uint32_t word) { return __half2float(__ushort_as_half(word & 0xFFFF)); };
    return make_float4(low(x.x), low(x.x >> 16), low(x.y), low(x.y >> 16));
  }
  __device__ static void store(const KvCacheView& c, std::byte* head, int token, int dim, float x,
                               bool valid) {
    if (valid) {
      reinterpret_cast<__half*>(head)[int64_t(token) * c.head_dim + dim] = __float2half_rn(x);
    }
  }
};

struct Q8Kv {
  static constexpr DType kType = DType::q8_0;
  __device__ static __half* scales(const KvCacheView& c, std::byte* head, int token) {
    return reinterpret_cast<__half*>(head + int64_t(c.block_size) * c.head_dim) +
           int64_t(token) * (c.head_dim / 32);
  }
  __device__ static const __half* scales(const KvCacheView& c, const std::byte* head, int token) {
    return scales(c, const_cast<std::byte*>(head), token);
  }
  __device__ static float at(const KvCacheView& c, const std::byte* head, int token, int dim) {
    const int8_t code = reinterpret_cast<const int8_t*>(head)[int64_t(token) * c.head_dim + dim];
    return __half2float(scales(c, head, token)[dim / 32]) * float(code);
  }
  __device__ static float4 four_at(const KvCacheView& c, const std::byte* head, int token,
                                   int dim) {
    const char4 x = reinterpret_cast<const char4*>(head)[(int64_t(token) * c.head_dim + dim) / 4];
    const float scale = __half2float(scales(c, head, token)[dim / 32]);
    return make_float4(scale * float(x.x), scale * float(x.y), scale * float(x.z),
                       scale * float(x.w));
  }
  // scale = f16(max|x| / 127), code = round-half-even(x / scale): against the scale that is stored.
  // The largest is taken over bits, so that a NaN spoils its 32, visibly. head_dim is whole 32s.
  __device__ static void store(const KvCacheView& c, std::byte* head, int token, int dim, float x,
                               bool) {
    unsigned bits = __float_as_uint(x) & 0x7FFFFFFFu;
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      bits = max(bits, __shfl_xor_sync(0xFFFFFFFFu, bits, lanes));
    }
    const __half stored = __float2half_rn(__uint_as_float(bits) / 127.0f);
    const float scale = __half2float(stored);
    const float factor = scale > 0 ? 1.0f / scale : 0.0f;
    const float code = fmaxf(-127.0f, fminf(127.0f, x * factor));
    reinterpret_cast<int8_t*>(head)[int64_t(token) * c.head_dim + dim] =
        int8_t(__float2int_rn(code));
    if (dim % 32 == 0) scales(c, head, token)[dim / 32] = stored;
  }
};

}  // namespace lm::cuda
