// backends/cuda/matvec.h — what the matrix-times-few-columns kernels (matvec.cuh) are asked for.
#pragma once
#include <cstdint>

#include "backends/backend.h"
#include "backends/cuda/context.h"
#include "backends/cuda/planes.h"
#include "backends/cuda/quantize.h"

namespace lm::cuda {

inline constexpr int kTilesPerBlock = 2;
inline constexpr int kMostMatvecJobs = 4;
// Warps of a block: the segments of a row; blocks of a multiprocessor at once, as registers allow
// for up to 8 and up to 16 rows of x.
inline constexpr int kMostSegments = 8;
inline constexpr int kNarrowBlocks = 2, kWideBlocks = 1;

// out[row] = W x_row + bias, or out += that.
struct MatvecJob {
  const uint8_t* weights = nullptr;  // planes, or rows as in the file
  int64_t m = 0;
  float* out = nullptr;
  int64_t out_stride = 0;
  const float* bias = nullptr;
  bool accumulate = false;
  int first_item = 0;  // of the launch's
};

// Rows of x that one expert multiplies together: [first, first + count).
struct ExpertRows {
  int expert, first, count;
};

// Jobs are stacks of matrices, of which each blockIdx.y takes one: that of rows[blockIdx.y], or
// with one row of x that of ids[blockIdx.y], which makes row blockIdx.y of out.
struct Experts {
  const ExpertRows* rows = nullptr;
  const int32_t* ids = nullptr;
  int n = 0;              // most that there can be: the grid; 0: no experts
  bool shares_x = false;  // with ids: row 0 of x is everybody's
  int64_t matrix_bytes = 0;
};

struct MatvecParams {
  // Quantized rows in memory; where `input` has rows, their number and size, and every block
  // quantizes `input` for itself.
  QuantizedRows x;
  InputRows input;
  RowOrder input_order;  // of halves' input
  Experts experts;
  int64_t tile_bytes = 0;  // of 16 rows of a matrix
  int n_passes = 1;        // of up to 16 rows of x each; with experts one
  int n_items = 0;  // neighbouring tiles of all jobs, or of gate's with up's: see count_items
  int n_jobs = 0;
  MatvecJob jobs[kMostMatvecJobs];
  // Jobs 0 and 1 are gate and up: out of job 0 = act(gate) * up.
  bool glu = false;
  Act act = Act::silu;
  float limit = 0;
};

// Items of `tiles` neighbouring tiles, for each pass.
inline void count_items(MatvecParams& params, int tiles) {
  params.n_items = 0;
  for (int i = 0; i < params.n_jobs && !(params.glu && i > 0); ++i) {
    params.jobs[i].first_item = params.n_items;
    const int64_t n = tiles_of(params.jobs[i].m);
    params.n_items += int(params.glu ? n : (n + tiles - 1) / tiles);
  }
  params.n_items *= params.n_passes;
}

// Up to so many numbers of x are quantized by every block, which costs less than one more kernel.
inline constexpr int64_t kMostInputNumbers = 16384;

// Into how many segments a sum of k products is cut: one a warp, merged in order. A function of k
// alone, so that a result's bits depend on nothing else.
constexpr int segments_of(int64_t k) {
  return chunks_of(k) <= 8 ? 4 : kMostSegments;
}

using MatvecLauncher = void (*)(const Context& context, const MatvecParams& params, int segments);
// By the families of formats; null: not one of theirs. One file each: they take long to compile.
MatvecLauncher basic_matvec(DType type, bool wide);
MatvecLauncher k_matvec(DType type, bool wide);
MatvecLauncher other_matvec(DType type, bool wide);
// Of any type with planes; `wide`: more than 8 rows of x.
MatvecLauncher matvec_of(DType type, bool wide);

// matvec_halves.cu: matrices of f16 or bf16 as in the file. params.input is what they read: f32
// rows, in no need of a norm. Their items are counted here. `wide` as above.
bool has_halves_matvec(const DeviceFacts& facts, Tensor weight, const InputRows& x);
void halves_matvec(const Context& context, DType type, MatvecParams& params, bool wide);

}  // namespace lm::cuda
