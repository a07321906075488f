// quant/activation_scales.h — AWQ (Lin et al., arXiv:2306.00978): a channel that matters is
// multiplied by s > 1 before rounding and its input divided by s, so that rounding hurts it less;
// and the range of a block is clipped where that costs least. Both are searched with the error in
// the output, tr(E H E^T), which the paper measures by running the model.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/core/thread_pool.h"
#include "quant/block_grid.h"
#include "quant/hessian.h"

namespace lm {

struct ScaleSearch {
  std::vector<float> scales;  // [n_cols], s: the matrix's columns times s, its input divided by s
  double error_before = 0, error = 0;  // of the sampled rows, with all scales 1 and with these
};

// `w`: rows [n_rows, n_cols] of all matrices that read the input, or a sample of them. `tied`
// (empty, or [n_cols]) names the producer of each column: columns with the same one get the same
// scale (heads that share a value).
ScaleSearch search_scales(const Hessian& hessian, const GridFormat& format,
                          std::span<const float> w, int64_t n_rows, std::span<const int32_t> tied,
                          ThreadPool& pool);

// H's blocks on the diagonal, for an input divided by `scales` (empty: as it is).
class BlockHessians {
 public:
  BlockHessians(const Hessian& hessian, std::span<const float> scales, int block);
  int64_t n_cols() const { return n_cols_; }
  int block() const { return block_; }
  const float* at(int64_t first_column) const { return values_.data() + first_column * block_; }
  std::span<const float> diagonal() const { return diagonal_; }

 private:
  int64_t n_cols_;
  int block_;
  std::vector<float> values_;  // [n_cols / block][block][block]
  std::vector<float> diagonal_;
};

// Shares of a block's range that are tried: 0, 5 %, 10 %, ... Fitted scales clip by themselves.
int clips_tried(DType type);

// out = the rows w [n_rows, n_cols] in `format`, whose blocks are those of `hessians`. The scales
// of each block are those whose clipped range leaves the least error e H_block e^T; codes are the
// nearest.
void quantize_clipped(const BlockHessians& hessians, const GridFormat& format,
                      std::span<const float> w, int64_t n_rows, std::byte* out, ThreadPool& pool);

}  // namespace lm
