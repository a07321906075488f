// backends/cuda/half_tiles.cu — activations and weights become tiles of f16 for the GEMM.
#include "backends/cuda/decode.cuh"
#include "backends/cuda/half_tiles.cuh"
#include "backends/cuda/half_tiles.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/ops.h"
#include "backends/cuda/planes.h"
#include "backends/cuda/planes_tiles.h"
#include "backends/cuda/ptx.cuh"
#include "backends/cuda/reduce.cuh"

namespace lm::cuda {
namespace {

constexpr int kThreads = 256;

struct ActivationParams {
  const float* x;
  int64_t stride;  // in floats
  int64_t k;
  bool aligned;  // every row begins at a multiple of 16 bytes
  std::byte* tiles;
  float* unscale;
};

// Numbers 8 * piece .. of a row of k, zeros behind its end.
__device__ inline void load_eight(const float* row, int64_t piece, int64_t k, bool aligned,
                                  float (&out)[8]) {
  const int64_t first = 8 * piece;
  if (aligned && first + 8 <= k) {
    const float4* from = reinterpret_cast<const float4*>(row + first);
    const float4 a = from[0], b = from[1];
    out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w;
    out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
    return;
  }
  for (int j = 0; j < 8; ++j) out[j] = first + j < k ? row[first + j] : 0.0f;
}

// 2^e, e in -126 .. 127.
__device__ inline float power_of_two(int e) {
  return __uint_as_float(uint32_t(e + 127) << 23);
}

// A block a row, read twice (the second time from a cache). n k 4 bytes in, n k 2 out.
__global__ void __launch_bounds__(kThreads) activation_tiles(const ActivationParams p) {
  LM_SHARED(float, shared);
  wait_for_previous_kernel();
  const int64_t row = blockIdx.x, n_chunks = half_chunks(p.k);
  const float* x = p.x + row * p.stride;
  float largest = 0, eight[8];
  for (int64_t piece = threadIdx.x; 8 * piece < p.k; piece += kThreads) {
    load_eight(x, piece, p.k, p.aligned, eight);
    for (int j = 0; j < 8; ++j) largest = fmaxf(largest, fabsf(eight[j]));
  }
  largest = block_max(largest, shared, int(threadIdx.x), kThreads);
  const int exponent = int(__float_as_uint(largest) >> 23) - 127;  // -127: 0 or subnormal
  const int up = exponent < 14 - 126 ? 126 : 14 - exponent;
  const float factor = power_of_two(up);
  for (int64_t piece = threadIdx.x; piece < n_chunks * kPieces; piece += kThreads) {
    load_eight(x, piece, p.k, p.aligned, eight);
    for (int j = 0; j < 8; ++j) eight[j] *= factor;
    *piece_at(p.tiles, n_chunks, row, piece) = eight_halves(eight);
  }
  if (threadIdx.x == 0) p.unscale[row] = power_of_two(-up);
}

struct FileRowsParams {
  DType type;
  const std::byte* rows;
  int64_t row_bytes, n, k;
  std::byte* tiles;
  int64_t at;
};

// A thread a piece; pieces behind the end of a row become zeros. The bytes of the rows in, n k 2
// out.
__global__ void __launch_bounds__(kThreads) file_row_tiles(const FileRowsParams p) {
  wait_for_previous_kernel();
  const int64_t n_chunks = half_chunks(p.k), n_pieces = n_chunks * kPieces;
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= p.n * n_pieces) return;
  const int64_t row = i / n_pieces, piece = i % n_pieces;
  float eight[8] = {};
  if (8 * piece < p.k) decode_eight(p.type, p.rows + row * p.row_bytes, piece, p.k, eight);
  *piece_at(p.tiles, n_chunks, p.at + row, piece) = eight_halves(eight);
}

unsigned blocks_for(int64_t threads) {
  return unsigned((threads + kThreads - 1) / kThreads);
}

}  // namespace

void activations_to_half_tiles(const Context& context, Tensor x, std::byte* tiles, float* unscale) {
  const bool aligned = x.row_bytes % 16 == 0 && reinterpret_cast<uintptr_t>(x.data()) % 16 == 0;
  const ActivationParams params{.x = f32(x),
                                .stride = f32_stride(x),
                                .k = x.cols(),
                                .aligned = aligned,
                                .tiles = tiles,
                                .unscale = unscale};
  const Grid grid{
      .blocks = unsigned(x.rows()), .threads = kThreads, .shared_bytes = kThreads / 32 * 4};
  launch(context, activation_tiles, grid, params);
}

void weights_to_half_tiles(const Context& context, Tensor weight, int64_t first, int64_t n,
                           std::byte* tiles, int64_t at) {
  if (weight.layout == kLayoutPlanes) {
    planes_to_half_tiles(context, weight, first, n, tiles, at);
    return;
  }
  const FileRowsParams params{.type = weight.dtype,
                              .rows = weight.data() + first * weight.row_bytes,
                              .row_bytes = weight.row_bytes,
                              .n = n,
                              .k = weight.cols(),
                              .tiles = tiles,
                              .at = at};
  const int64_t pieces = n * half_chunks(weight.cols()) * kPieces;
  launch(context, file_row_tiles, {.blocks = blocks_for(pieces), .threads = kThreads}, params);
}

}  // namespace lm::cuda
