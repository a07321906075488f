// backends/cuda/gemm_kernel.h — what the kernels of a GEMM share: its operands in tiles of f16, and
// where the numbers go. The columns of one launch may belong to several matrices (q, k and v of one
// input): each output begins at a multiple of kGemmColumns.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "backends/cuda/context.h"
#include "engine/core/result.h"

namespace lm::cuda {

inline constexpr int kGemmColumns = 256;  // columns of the largest tile of a block
inline constexpr int kGemmRows = 128;
inline constexpr int kMostOutputs = 4;

struct GemmOutput {
  float* out = nullptr;         // of this launch's first column
  int64_t stride = 0;           // in floats
  const float* bias = nullptr;  // of this launch's first column; may be nullptr
  int first_column = 0;         // of the launch
  int n_columns = 0;
  bool accumulate = false;
  bool paired = false;  // two neighbouring columns may be written as one float2
};

struct GemmParams {
  const std::byte* x = nullptr;  // tiles of [n_rows, k], rows padded to kGemmRows
  const float* unscale = nullptr;
  const std::byte* weights = nullptr;  // tiles of [n_columns, k]
  int64_t n_chunks = 0;                // of kHalfTileColumns of k
  int n_rows = 0;
  int n_columns = 0;  // of the launch, a multiple of kGemmColumns
  int n_outputs = 0;
  std::array<GemmOutput, kMostOutputs> outputs{};
};

// hopper/gemm_hopper.cu: the same by wgmma, for devices that have it (DeviceFacts::wgmma).
Status prepare_hopper_gemm(const DeviceFacts& facts);
void hopper_gemm(const Context& context, const GemmParams& params);

}  // namespace lm::cuda
