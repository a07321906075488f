// quant/error_feedback.h — GPTQ (Frantar et al., arXiv:2210.17323): columns are rounded one after
// the other, and what rounding a column costs is made up for in the columns that are still open.
// In the form of Chee et al. (arXiv:2307.13304, theorem 6), which is the same thing without the
// inverse of H: with H = U D U^T, U unit upper triangular, column k becomes
//   q_k = round(w_k + Σ_{j<k} (w_j - q_j) U_jk),
// and the error tr((W - Q) H (W - Q)^T) is Σ_k D_k |round's error in column k|².
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/thread_pool.h"
#include "quant/block_grid.h"
#include "quant/hessian.h"

namespace lm {

struct FeedbackOptions {
  // Added to the diagonal, as a share of its mean; ten times as much each time that H still can't
  // be factored, up to 1.
  float damping = 0.01f;
  // Columns in the order of falling H_kk. All scales are then chosen before, from the weights as
  // they are, so that groups stay where they are ("static groups"); otherwise a block's scales are
  // chosen when its turn comes, from what its columns have become.
  bool by_importance = false;
};

// What the Hessian says about how to quantize all matrices behind it.
struct FeedbackPlan {
  int64_t n_cols = 0;
  std::vector<int32_t> order;      // column that is rounded as the k-th; empty: 0, 1, 2, ...
  std::vector<float> importance;   // H_kk by column; empty: scales are not searched for
  std::unique_ptr<float[]> upper;  // U [n_cols, n_cols] in that order; what is below is undefined
  std::vector<float> pivots;       // D in that order
  float damping = 0;               // that was needed
};
// Columns that are always 0 in X feed nothing back and are rounded to nearest.
Result<FeedbackPlan> plan_feedback(const Hessian& hessian, const FeedbackOptions& options,
                                   ThreadPool& pool);

// out = the rows w [n_rows, n_cols] in `format`; n_cols is a whole number of blocks. Returns
// tr((W - Q) H (W - Q)^T) with the damped H. Rows do not depend on each other. Memory: 17 bytes a
// number of 256 rows.
double quantize_with_feedback(const FeedbackPlan& plan, const GridFormat& format,
                              std::span<const float> w, int64_t n_rows, std::byte* out,
                              ThreadPool& pool);

// tr(E H E^T) of the rows E [n_rows, n_cols]: what an error costs in the output.
double output_error(const Hessian& hessian, std::span<const float> e, int64_t n_rows,
                    ThreadPool& pool);

}  // namespace lm
