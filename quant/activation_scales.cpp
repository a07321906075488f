#include "quant/activation_scales.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/core/check.h"
#include "quant/decode.h"
#include "quant/error_feedback.h"
#include "quant/gemm.h"

namespace lm {
namespace {

// Candidates: s = x^r and s = x^r / w^(1-r), r = 0, 1/20, ..., x and w the typical magnitudes of a
// channel's input and of its weights (the second form: the AutoAWQ project's "duo scaling").
constexpr int kRatios = 20;
constexpr float kLeastScale = 1e-4f;  // before all are brought around 1

// Columns with one producer get the mean of their squares.
void average_tied(std::span<const int32_t> tied, std::vector<float>& squares) {
  if (tied.empty()) return;
  const int32_t n = *std::max_element(tied.begin(), tied.end()) + 1;
  std::vector<double> sum(static_cast<size_t>(n)), count(static_cast<size_t>(n));
  for (size_t k = 0; k < tied.size(); ++k) {
    sum[size_t(tied[k])] += squares[k];
    count[size_t(tied[k])] += 1;
  }
  for (size_t k = 0; k < tied.size(); ++k)
    squares[k] = float(sum[size_t(tied[k])] / count[size_t(tied[k])]);
}

// The root of squares, at least a thousandth of the typical one: no channel is free.
std::vector<float> magnitudes(const std::vector<float>& squares) {
  double mean = 0;
  for (const float v : squares) mean += v;
  mean /= double(squares.size());
  const float least = mean > 0 ? float(1e-3 * std::sqrt(mean)) : 1;
  std::vector<float> roots(squares.size());
  for (size_t k = 0; k < roots.size(); ++k) roots[k] = std::max(std::sqrt(squares[k]), least);
  return roots;
}

// The mean over rows of (w / the largest of its block)².
std::vector<float> weight_squares(std::span<const float> w, int64_t n_rows, int64_t n_cols,
                                  int block) {
  std::vector<float> squares(size_t(n_cols), 0.0f);
  for (int64_t row = 0; row < n_rows; ++row) {
    for (int64_t first = 0; first < n_cols; first += block) {
      const float* x = w.data() + row * n_cols + first;
      float most = 0;
      for (int j = 0; j < block; ++j) most = std::max(most, std::fabs(x[j]));
      for (int j = 0; most > 0 && j < block; ++j) {
        const float share = x[j] / most;
        squares[size_t(first + j)] += share * share / float(n_rows);
      }
    }
  }
  return squares;
}

std::vector<float> candidate(const std::vector<float>& x, const std::vector<float>& w, float ratio,
                             bool by_weight) {
  std::vector<float> s(x.size());
  float least = std::numeric_limits<float>::max(), most = 0;
  for (size_t k = 0; k < s.size(); ++k) {
    s[k] = std::pow(x[k], ratio);
    if (by_weight) s[k] /= std::pow(w[k], 1 - ratio) + kLeastScale;
    s[k] = std::max(s[k], kLeastScale);
    least = std::min(least, s[k]);
    most = std::max(most, s[k]);
  }
  const float middle = std::sqrt(least) * std::sqrt(most);
  for (float& v : s) v /= middle;
  return s;
}

// What scales are searched with. A type whose own scales are fitted takes a hundred times as long
// to round as a group: groups of 32 with as many bits, up to 4, stand in for it.
GridFormat search_format(const GridFormat& format) {
  const bool plain =
      is_i4g(format.type) || format.type == DType::q4_0 || format.type == DType::q8_0;
  if (plain) return format;
  const int most = most_code(format);
  return {.type = DType::i4g32, .bits = most <= 3 ? 2 : most <= 7 ? 3 : 4, .symmetric = false};
}

// tr(E H E^T) of E = Q(W s) / s - W.
double error_with(const Hessian& hessian, const GridFormat& format, std::span<const float> w,
                  int64_t n_rows, const std::vector<float>& s, ThreadPool& pool) {
  const auto n = int64_t(s.size());
  std::vector<float> e(w.size());
  const size_t bytes = row_bytes(format.type, n);
  std::vector<std::byte> blocks(bytes * size_t(pool.size()));
  pool.parallel_for(n_rows, [&](int64_t row, int thread) {
    const float* from = w.data() + row * n;
    float* to = e.data() + row * n;
    std::byte* stored = blocks.data() + bytes * size_t(thread);
    for (int64_t k = 0; k < n; ++k) to[k] = from[k] * s[size_t(k)];
    round_to_nearest(format, {to, size_t(n)}, {}, stored);
    decode(format.type, stored, to, n);
    for (int64_t k = 0; k < n; ++k) to[k] = to[k] / s[size_t(k)] - from[k];
  });
  return output_error(hessian, e, n_rows, pool);
}

}  // namespace

ScaleSearch search_scales(const Hessian& hessian, const GridFormat& wanted,
                          std::span<const float> w, int64_t n_rows, std::span<const int32_t> tied,
                          ThreadPool& pool) {
  const GridFormat format = search_format(wanted);
  const int64_t n = hessian.n_cols();
  LM_CHECK(w.size() == size_t(n_rows * n) && (tied.empty() || tied.size() == size_t(n)));
  std::vector<float> squares = hessian.diagonal();
  std::vector<float> weights = weight_squares(w, n_rows, n, format.block_elems());
  average_tied(tied, squares);
  average_tied(tied, weights);
  const std::vector<float> x_size = magnitudes(squares), w_size = magnitudes(weights);
  ScaleSearch best{.scales = std::vector<float>(size_t(n), 1.0f)};
  best.error_before = error_with(hessian, format, w, n_rows, best.scales, pool);
  best.error = best.error_before;
  for (int i = 0; i < 2 * kRatios; ++i) {
    const bool by_weight = i >= kRatios;
    const float ratio = float(i % kRatios) / kRatios;
    if (ratio == 0 && !by_weight) continue;  // all 1
    std::vector<float> s = candidate(x_size, w_size, ratio, by_weight);
    const double error = error_with(hessian, format, w, n_rows, s, pool);
    if (!(error < best.error)) continue;
    best.error = error;
    best.scales = std::move(s);
  }
  return best;
}

BlockHessians::BlockHessians(const Hessian& hessian, std::span<const float> scales, int block)
    : n_cols_(hessian.n_cols()),
      block_(block),
      values_(size_t(n_cols_ * block)),
      diagonal_(size_t(n_cols_)) {
  LM_CHECK(n_cols_ % block == 0 && (scales.empty() || scales.size() == size_t(n_cols_)));
  const auto inverse = [&](int64_t k) { return scales.empty() ? 1.0f : 1 / scales[size_t(k)]; };
  for (int64_t i = 0; i < n_cols_; ++i) {
    const int64_t first = i / block * block;
    const float* row = hessian.values().data() + i * n_cols_ + first;
    for (int64_t j = 0; j < block; ++j)
      values_[size_t(i * block + j)] = row[j] * inverse(i) * inverse(first + j);
    diagonal_[size_t(i)] = values_[size_t(i * block + i - first)];
  }
}

namespace {

constexpr float kClipStep = 0.05f;  // of the range
constexpr int64_t kPanelRows = 256;

// All clips of one block of some rows: [rows][clips].
struct ClipTrials {
  int clips = 0;
  std::vector<std::byte> blocks;
  std::vector<float> e, eh;  // [.., block]: the error, and the error times H
};

void try_clips(const BlockHessians& hessians, const GridFormat& format, const float* x,
               int64_t column, int64_t row, ClipTrials& trials) {
  const int n = format.block_elems();
  // A group has nothing but its range; other types' scales are fitted, to the same importance.
  const float* importance = is_i4g(format.type) ? nullptr : hessians.diagonal().data() + column;
  BlockGrid grid;
  for (int i = 0; i < trials.clips; ++i) {
    const int64_t trial = row * trials.clips + i;
    std::byte* block = trials.blocks.data() + trial * int64_t(format.block_bytes());
    choose_scales(format, x, importance, kClipStep * float(i), block);
    read_grid(format, block, grid);
    write_nearest(format, grid, x, block);
    float* e = trials.e.data() + trial * n;
    decode(format.type, block, e, n);
    for (int j = 0; j < n; ++j) e[j] -= x[j];
  }
}

// The trial of a row with the least e H e^T.
int best_clip(const ClipTrials& trials, int64_t row, int n) {
  int best = 0;
  float least = std::numeric_limits<float>::infinity();
  for (int i = 0; i < trials.clips; ++i) {
    const float* e = trials.e.data() + (row * trials.clips + i) * n;
    const float* eh = trials.eh.data() + (row * trials.clips + i) * n;
    float error = 0;
    for (int j = 0; j < n; ++j) error += e[j] * eh[j];
    if (!(error < least)) continue;
    least = error;
    best = i;
  }
  return best;
}

}  // namespace

int clips_tried(DType type) {
  return is_i4g(type) ? 11 : 4;
}

void quantize_clipped(const BlockHessians& hessians, const GridFormat& format,
                      std::span<const float> w, int64_t n_rows, std::byte* out, ThreadPool& pool) {
  const int64_t n = hessians.n_cols();
  const int block = format.block_elems();
  const auto bytes = int64_t(format.block_bytes()), row_size = int64_t(row_bytes(format.type, n));
  LM_CHECK(hessians.block() == block && w.size() == size_t(n_rows * n));
  const int64_t most_rows = std::min(kPanelRows, n_rows),
                n_trials = most_rows * clips_tried(format.type);
  ClipTrials trials;
  trials.clips = clips_tried(format.type);
  trials.blocks.resize(size_t(n_trials * bytes));
  trials.e.resize(size_t(n_trials * block));
  trials.eh.resize(size_t(n_trials * block));
  for (int64_t first = 0; first < n_rows; first += kPanelRows) {
    const int64_t rows = std::min(kPanelRows, n_rows - first);
    for (int64_t column = 0; column < n; column += block) {
      pool.parallel_for(rows, [&](int64_t row, int) {
        try_clips(hessians, format, w.data() + (first + row) * n + column, column, row, trials);
      });
      std::fill(trials.eh.begin(), trials.eh.end(), 0.0f);
      add_product({.a = {trials.e.data(), block, 1},
                   .b = {hessians.at(column), block, 1},
                   .m = rows * trials.clips,
                   .n = block,
                   .k = block,
                   .c = trials.eh.data(),
                   .c_row_step = block},
                  pool);
      pool.parallel_for(rows, [&](int64_t row, int) {
        const int64_t trial = row * trials.clips + best_clip(trials, row, block);
        std::memcpy(out + (first + row) * row_size + column / block * bytes,
                    trials.blocks.data() + trial * bytes, size_t(bytes));
      });
    }
  }
}

}  // namespace lm
