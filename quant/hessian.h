// quant/hessian.h — H = X^T X / n of the rows X that enter a matrix: the second derivative of a
// matrix's squared output error by its weights. What GPTQ, AWQ and clipping measure errors with;
// its diagonal is an importance matrix.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/thread_pool.h"

namespace lm {

class Hessian {
 public:
  static Result<Hessian> create(int64_t n_cols);  // n_cols² floats

  // X gains the rows [n, n_cols].
  void add(std::span<const float> rows, int64_t n, ThreadPool& pool);
  // Divides by the number of rows and fills in the lower half; no add() after it. bad_request when
  // there were no rows, or rows with numbers that are not finite (or so large that squares are
  // not).
  Status finish();

  // After finish(): as if `rows` more rows had been there, whose columns have these mean squares
  // and nothing to do with each other. What few rows say by chance counts less then.
  void add_prior(std::span<const float> mean_squares, double rows);
  // Likewise, as if `rows` more rows had been there that are like those of `other`, finished too.
  void add_prior(const Hessian& other, double rows);

  int64_t n_cols() const { return n_cols_; }
  int64_t n_rows() const { return n_rows_; }
  std::span<const float> values() const {  // [n_cols, n_cols], symmetric
    return {values_.get(), size_t(n_cols_ * n_cols_)};
  }
  std::vector<float> diagonal() const;

 private:
  Hessian(int64_t n_cols, std::unique_ptr<float[]> values)
      : n_cols_(n_cols), values_(std::move(values)) {}

  int64_t n_cols_, n_rows_ = 0;
  std::unique_ptr<float[]> values_;
};

// Zeroed, or an out_of_memory that says for what.
Result<std::unique_ptr<float[]>> square_matrix(int64_t n, std::string_view what);

}  // namespace lm
