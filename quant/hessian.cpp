#include "quant/hessian.h"

#include <algorithm>
#include <cmath>
#include <new>

#include "engine/core/check.h"
#include "engine/core/checked.h"
#include "engine/core/text.h"
#include "quant/gemm.h"

namespace lm {

Result<std::unique_ptr<float[]>> square_matrix(int64_t n, std::string_view what) {
  constexpr uint64_t kMost = uint64_t{1} << 40;
  const std::optional<uint64_t> count = checked_mul(uint64_t(n), uint64_t(n));
  std::unique_ptr<float[]> values;
  if (n > 0 && count && *count < kMost) values.reset(new (std::nothrow) float[size_t(*count)]());
  if (values == nullptr) {
    return Error{ErrorCode::out_of_memory,
                 concat("expected memory for ", what, " of ", n, " x ", n, " numbers, found less")};
  }
  return values;
}

Result<Hessian> Hessian::create(int64_t n_cols) {
  return Hessian(n_cols, LM_TRY(square_matrix(n_cols, "a Hessian")));
}

void Hessian::add(std::span<const float> rows, int64_t n, ThreadPool& pool) {
  LM_CHECK(n >= 0 && rows.size() == size_t(n * n_cols_));
  add_product({.a = {rows.data(), 1, n_cols_},
               .b = {rows.data(), n_cols_, 1},
               .m = n_cols_,
               .n = n_cols_,
               .k = n,
               .c = values_.get(),
               .c_row_step = n_cols_,
               .upper_only = true},
              pool);
  n_rows_ += n;
}

Status Hessian::finish() {
  if (n_rows_ == 0) {
    return Error{ErrorCode::bad_request, "expected rows of activations, found none"};
  }
  const float scale = 1 / float(n_rows_);
  float* h = values_.get();
  for (int64_t i = 0; i < n_cols_; ++i) {
    for (int64_t j = i; j < n_cols_; ++j) {
      h[i * n_cols_ + j] *= scale;
      h[j * n_cols_ + i] = h[i * n_cols_ + j];
    }
    // |h_ij| <= (h_ii + h_jj) / 2: where the diagonal is finite, all is.
    if (!std::isfinite(h[i * n_cols_ + i])) {
      return Error{ErrorCode::bad_file,
                   concat("expected finite activations, found others in column ", i)};
    }
  }
  return ok();
}

void Hessian::add_prior(std::span<const float> mean_squares, double rows) {
  LM_CHECK(n_rows_ > 0 && rows >= 0 && mean_squares.size() == size_t(n_cols_));
  const auto share = float(rows / (double(n_rows_) + rows));
  float* h = values_.get();
  for (int64_t i = 0; i < n_cols_ * n_cols_; ++i) h[i] *= 1 - share;
  for (int64_t i = 0; i < n_cols_; ++i) h[i * n_cols_ + i] += share * mean_squares[size_t(i)];
}

void Hessian::add_prior(const Hessian& other, double rows) {
  LM_CHECK(n_rows_ > 0 && rows >= 0 && other.n_cols_ == n_cols_ && other.n_rows_ > 0);
  const auto share = float(rows / (double(n_rows_) + rows));
  float* h = values_.get();
  const float* o = other.values_.get();
  for (int64_t i = 0; i < n_cols_ * n_cols_; ++i) h[i] += share * (o[i] - h[i]);
}

std::vector<float> Hessian::diagonal() const {
  std::vector<float> diagonal(size_t(n_cols_), 0.0f);
  for (size_t i = 0; i < diagonal.size(); ++i) diagonal[i] = values_[i * size_t(n_cols_) + i];
  return diagonal;
}

}  // namespace lm
