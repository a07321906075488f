// A matrix in planes to tiles of f16 for the GEMM (half_tiles.h): what weights_to_half_tiles does
// with layout kLayoutPlanes. A warp a tile of 16 rows and chunk of 128 columns.
// Bytes: the planes in, 2 a weight out.
#include "backends/cuda/formats_codebook.cuh"
#include "backends/cuda/formats_k.cuh"
#include "backends/cuda/half_tiles.cuh"
#include "backends/cuda/half_tiles.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/planes_tiles.h"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

constexpr int kWarps = 8;  // of a block: chunks of a tile

struct PlanesParams {
  const uint8_t* planes;  // of the first row
  int64_t n, k;           // rows, columns
  int64_t tile_bytes;
  std::byte* tiles;
  int64_t at;  // the first row's place among the tiles
};

// Elements 4t .. 4t + 3 of part p of group j, in row g + 8h.
template <class F>
__device__ inline uint2 four_halves(const typename F::Factors& factors, uint32_t codes, int h,
                                    int j, int p) {
  float scale = F::scale(factors, h, j) * F::kUnit, minimum = 0;
  if constexpr (F::kMinimum) minimum = F::minimum(factors, h, j);
  if constexpr (F::kHalves) scale *= float(F::part_scale(factors, h, j, p));
  if constexpr (F::kHalves && F::kMinimum) minimum *= float(F::part_minimum(factors, h, j, p));
  uint32_t halves[4];
  for (int i = 0; i < 4; ++i) {
    const float w = float(signed_byte_at(codes, i)) * scale;
    halves[i] = __half_as_ushort(__float2half_rn(F::kMinimum ? w + minimum : w));
  }
  return {halves[0] | halves[1] << 16, halves[2] | halves[3] << 16};
}

// Grid: kWarps chunks, tiles of 16 rows.
template <class F>
__global__ void __launch_bounds__(32 * kWarps) planes_kernel(const PlanesParams p) {
  wait_for_previous_kernel();
  constexpr PlaneRecord kRecord = plane_record(F::kType);
  constexpr int kChunks = kRecord.columns / kChunkColumns;
  const int lane = int(threadIdx.x) % 32;
  const int chunk = int(blockIdx.x) * kWarps + int(threadIdx.x) / 32;
  const int64_t n_chunks = half_chunks(p.k);
  if (int64_t(chunk) * kChunkColumns >= p.k) return;
  typename F::Chunk weights;
  F::load(p.planes + blockIdx.y * p.tile_bytes + chunk / kChunks * kRecord.bytes, chunk % kChunks,
          lane, weights);
  const typename F::Factors factors = F::factors(weights, chunk % kChunks);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    uint32_t a[4];
    F::fragment(weights, j, a);
    for (int i = 0; i < 4; ++i) {
      const int h = i % 2, part = i / 2;
      const int64_t row = int64_t(blockIdx.y) * kTileRows + lane / 4 + 8 * h;
      const int64_t column = int64_t(chunk) * kChunkColumns + 32 * j + 16 * part + lane % 4 * 4;
      if (row >= p.n || column >= n_chunks * kHalfTileColumns) continue;
      uint2* piece = reinterpret_cast<uint2*>(piece_at(p.tiles, n_chunks, p.at + row, column / 8));
      piece[column / 4 % 2] = four_halves<F>(factors, a[i], h, j, part);
    }
  }
}

using Launch = void (*)(const Context&, const PlanesParams&);

template <class F>
void launch_planes(const Context& context, const PlanesParams& p) {
  const int64_t chunks = chunks_of(p.k);
  launch(
      context, planes_kernel<F>,
      {dim3(unsigned((chunks + kWarps - 1) / kWarps), unsigned(tiles_of(p.n))), dim3(32 * kWarps)},
      p);
}

Launch launch_of(DType type) {
  switch (type) {
    case DType::q4_0:
      return launch_planes<FormatQ4_0>;
    case DType::q4_1:
      return launch_planes<FormatQ4_1>;
    case DType::q5_0:
      return launch_planes<FormatQ5_0>;
    case DType::q5_1:
      return launch_planes<FormatQ5_1>;
    case DType::q8_0:
      return launch_planes<FormatQ8_0>;
    case DType::q2_K:
      return launch_planes<FormatQ2_K>;
    case DType::q3_K:
      return launch_planes<FormatQ3_K>;
    case DType::q4_K:
      return launch_planes<FormatQ4_K>;
    case DType::q5_K:
      return launch_planes<FormatQ5_K>;
    case DType::q6_K:
      return launch_planes<FormatQ6_K>;
    case DType::iq4_NL:
      return launch_planes<FormatIq4_NL>;
    case DType::iq4_XS:
      return launch_planes<FormatIq4_XS>;
    case DType::mxfp4:
      return launch_planes<FormatMxfp4>;
    case DType::i4g32:
      return launch_planes<FormatI4g32>;
    case DType::i4g64:
      return launch_planes<FormatI4g64>;
    case DType::i4g128:
      return launch_planes<FormatI4g128>;
    default:
      return nullptr;
  }
}

}  // namespace

void planes_to_half_tiles(const Context& context, Tensor weight, int64_t first, int64_t n,
                          std::byte* tiles, int64_t at) {
  const Launch run = launch_of(weight.dtype);
  LM_CHECK(run != nullptr && first % kTileRows == 0 && tiles_of(n) <= 65535);
  const int64_t bytes = tile_bytes(weight.dtype, weight.cols());
  run(context,
      {.planes = reinterpret_cast<const uint8_t*>(weight.data()) + first / kTileRows * bytes,
       .n = n,
       .k = weight.cols(),
       .tile_bytes = bytes,
       .tiles = tiles,
       .at = at});
}

}  // namespace lm::cuda
