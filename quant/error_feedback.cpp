#include "quant/error_feedback.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "engine/core/check.h"
#include "engine/core/text.h"
#include "quant/gemm.h"

namespace lm {
namespace {

constexpr int64_t kFactorBlock = 64;   // columns factored at once
constexpr int64_t kPanelRows = 256;    // of a matrix, quantized at once
constexpr int64_t kStaticBatch = 128;  // columns between two products ("lazy batches")

// ---- H = U D U^T ----

// a [n, n] with row step `step` becomes R, upper triangular with a = R R^T; false where a is not
// positive definite. From the last column backwards, since R is the inverse's order reversed.
bool factor_small(float* a, int64_t n, int64_t step) {
  for (int64_t j = n - 1; j >= 0; --j) {
    double pivot = a[j * step + j];
    for (int64_t k = j + 1; k < n; ++k) pivot -= double(a[j * step + k]) * a[j * step + k];
    if (!(pivot > 0) || !std::isfinite(pivot)) return false;
    const double root = std::sqrt(pivot);
    a[j * step + j] = float(root);
    for (int64_t i = 0; i < j; ++i) {
      double sum = a[i * step + j];
      for (int64_t k = j + 1; k < n; ++k) sum -= double(a[i * step + k]) * a[j * step + k];
      a[i * step + j] = float(sum / root);
    }
  }
  return true;
}

// The same for all of a, blocked; only what is on and above the diagonal is read and written.
bool factor(float* a, int64_t n, ThreadPool& pool) {
  for (int64_t end = n; end > 0;) {
    const int64_t first = std::max<int64_t>(0, end - kFactorBlock), width = end - first;
    float* block = a + first * n + first;
    if (!factor_small(block, width, n)) return false;
    // Rows above: x R_BB^T = a, from the last column backwards.
    pool.parallel_for(first, [&](int64_t i, int) {
      float* row = a + i * n + first;
      for (int64_t j = width - 1; j >= 0; --j) {
        float sum = row[j];
        for (int64_t k = j + 1; k < width; ++k) sum -= row[k] * block[j * n + k];
        row[j] = sum / block[j * n + j];
      }
    });
    add_product({.a = {a + first, n, 1},
                 .b = {a + first, 1, n},
                 .m = first,
                 .n = first,
                 .k = width,
                 .c = a,
                 .c_row_step = n,
                 .sign = -1,
                 .upper_only = true},
                pool);
    end = first;
  }
  return true;
}

// U and D of R = U sqrt(D).
void normalise(float* a, int64_t n, std::vector<float>& pivots) {
  std::vector<float> inverse(static_cast<size_t>(n));
  for (int64_t j = 0; j < n; ++j) {
    const float root = a[j * n + j];
    pivots[size_t(j)] = root * root;
    inverse[size_t(j)] = 1 / root;
  }
  for (int64_t i = 0; i < n; ++i) {
    a[i * n + i] = 1;
    for (int64_t j = i + 1; j < n; ++j) a[i * n + j] *= inverse[size_t(j)];
  }
}

// H in the order of the plan, with `damping` of the mean on the diagonal.
void copy_damped(const Hessian& hessian, float damping, FeedbackPlan& plan) {
  const int64_t n = plan.n_cols;
  double sum = 0;
  int64_t live = 0;
  for (const float h : plan.importance) {
    sum += h;
    live += h > 0 ? 1 : 0;
  }
  const float mean = live > 0 ? float(sum / double(live)) : 1;
  const float* h = hessian.values().data();
  for (int64_t i = 0; i < n; ++i) {
    const int64_t from = plan.order.empty() ? i : plan.order[size_t(i)];
    float* row = plan.upper.get() + i * n;
    for (int64_t j = i; j < n; ++j)
      row[j] = h[from * n + (plan.order.empty() ? j : plan.order[size_t(j)])];
    // A column that is always 0 has nothing but zeros in H.
    row[i] = (plan.importance[size_t(from)] > 0 ? row[i] : mean) + damping * mean;
  }
}

}  // namespace

Result<FeedbackPlan> plan_feedback(const Hessian& hessian, const FeedbackOptions& options,
                                   ThreadPool& pool) {
  FeedbackPlan plan;
  plan.n_cols = hessian.n_cols();
  plan.importance = hessian.diagonal();
  plan.pivots.resize(size_t(plan.n_cols));
  if (options.by_importance) {
    plan.order.resize(size_t(plan.n_cols));
    std::iota(plan.order.begin(), plan.order.end(), 0);
    std::stable_sort(plan.order.begin(), plan.order.end(), [&](int32_t a, int32_t b) {
      return plan.importance[size_t(a)] > plan.importance[size_t(b)];
    });
  }
  plan.upper = LM_TRY(square_matrix(plan.n_cols, "the factors of a Hessian"));
  for (float damping = options.damping;;) {
    copy_damped(hessian, damping, plan);
    if (factor(plan.upper.get(), plan.n_cols, pool)) {
      normalise(plan.upper.get(), plan.n_cols, plan.pivots);
      plan.damping = damping;
      return plan;
    }
    if (damping >= 1) break;
    damping = std::min(1.0f, std::max(damping * 10, 1e-4f));
  }
  return Error{ErrorCode::bad_request,
               concat("expected a Hessian that is positive semidefinite, found one of ",
                      plan.n_cols, " columns that can't be factored")};
}

namespace {

// 256 rows, everything in the order in which columns are rounded.
struct Panel {
  int64_t rows = 0;
  std::vector<float> error;         // w - q of finished columns, [rows, cols]
  std::vector<float> step, offset;  // of each number's grid, [rows, cols]
  std::vector<uint8_t> codes;       // in the order of the columns
  std::vector<float> batch;         // w with what is fed back, [rows, columns of a batch]
  std::vector<double> cost;         // [rows]

  Panel(int64_t n_rows, int64_t n_cols, int64_t n_batch)
      : rows(n_rows),
        error(size_t(n_rows * n_cols)),
        step(size_t(n_rows * n_cols)),
        offset(size_t(n_rows * n_cols)),
        codes(size_t(n_rows * n_cols)),
        batch(size_t(n_rows * n_batch)),
        cost(size_t(n_rows)) {}
};

class PanelQuantizer {
 public:
  PanelQuantizer(const FeedbackPlan& plan, const GridFormat& format, ThreadPool& pool)
      : plan_(plan),
        format_(format),
        pool_(pool),
        n_(plan.n_cols),
        batch_(plan.order.empty() ? format.block_elems() : kStaticBatch),
        q_max_(most_code(format)) {
    if (plan.order.empty()) return;
    place_.resize(plan.order.size());
    for (size_t k = 0; k < place_.size(); ++k) place_[size_t(plan.order[k])] = int32_t(k);
  }

  double run(const float* w, int64_t rows, std::byte* out);

 private:
  int64_t column(int64_t k) const { return plan_.order.empty() ? k : plan_.order[size_t(k)]; }
  int64_t place(int64_t column) const { return place_.empty() ? column : place_[size_t(column)]; }
  // Scales of the block at `column` from x, and where they put its numbers.
  void choose(const float* x, int64_t column, int64_t row, std::byte* out, Panel& panel);
  void choose_next(const float* w, int64_t row, int64_t first, std::byte* out, Panel& panel);
  void round_row(const float* w, int64_t row, int64_t first, int64_t width, Panel& panel);

  const FeedbackPlan& plan_;
  GridFormat format_;
  ThreadPool& pool_;
  int64_t n_, batch_;
  std::vector<int32_t> place_;
  int q_max_;
};

void PanelQuantizer::choose(const float* x, int64_t column, int64_t row, std::byte* out,
                            Panel& panel) {
  std::byte* block =
      out + (row * n_ + column) / format_.block_elems() * int64_t(format_.block_bytes());
  BlockGrid grid;
  choose_scales(format_, x, plan_.importance.empty() ? nullptr : plan_.importance.data() + column,
                0, block);
  read_grid(format_, block, grid);
  for (int j = 0; j < format_.block_elems(); ++j) {
    const auto at = size_t(row * n_ + place(column + j));
    panel.step[at] = grid.step[j];
    panel.offset[at] = grid.offset[j];
  }
}

// Scales of the next block, a batch, from what its columns would become if rounding them cost
// nothing: each then still feeds what it was moved by into those behind it.
void PanelQuantizer::choose_next(const float* w, int64_t row, int64_t first, std::byte* out,
                                 Panel& panel) {
  float ahead[kMaxGridElems];
  std::copy_n(panel.batch.data() + row * batch_, batch_, ahead);
  for (int64_t i = 0; i < batch_; ++i) {
    const float moved = w[row * n_ + first + i] - ahead[i];
    const float* feed = plan_.upper.get() + (first + i) * n_ + first;
    for (int64_t j = i + 1; j < batch_; ++j) ahead[j] += moved * feed[j];
  }
  choose(ahead, first, row, out, panel);
}

// Columns [first, first + width) of the order, of one row of the panel.
void PanelQuantizer::round_row(const float* w, int64_t row, int64_t first, int64_t width,
                               Panel& panel) {
  float* open = panel.batch.data() + row * batch_;
  double cost = 0;
  for (int64_t i = 0; i < width; ++i) {
    const int64_t k = first + i, at = row * n_ + k;
    const float step = panel.step[size_t(at)], offset = panel.offset[size_t(at)];
    const int q = nearest_code(open[i], step, offset, q_max_);
    const float value = offset + step * float(q), rest = open[i] - value;
    panel.codes[size_t(row * n_ + column(k))] = uint8_t(q);
    cost += double(plan_.pivots[size_t(k)]) * rest * rest;
    const float error = w[row * n_ + column(k)] - value;
    panel.error[size_t(at)] = error;
    const float* feed = plan_.upper.get() + k * n_ + first;
    for (int64_t j = i + 1; j < width; ++j) open[j] += error * feed[j];
  }
  panel.cost[size_t(row)] += cost;
}

double PanelQuantizer::run(const float* w, int64_t rows, std::byte* out) {
  const int64_t block = format_.block_elems();
  Panel panel(rows, n_, batch_);
  const bool choose_first = !plan_.order.empty();
  if (choose_first) {
    pool_.parallel_for(rows, [&](int64_t row, int) {
      for (int64_t c = 0; c < n_; c += block) choose(w + row * n_ + c, c, row, out, panel);
    });
  }
  for (int64_t first = 0; first < n_; first += batch_) {
    const int64_t width = std::min(batch_, n_ - first);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t i = 0; i < width; ++i)
        panel.batch[size_t(row * batch_ + i)] = w[row * n_ + column(first + i)];
    }
    add_product({.a = {panel.error.data(), n_, 1},
                 .b = {plan_.upper.get() + first, n_, 1},
                 .m = rows,
                 .n = width,
                 .k = first,
                 .c = panel.batch.data(),
                 .c_row_step = batch_},
                pool_);
    pool_.parallel_for(rows, [&](int64_t row, int) {
      if (!choose_first) choose_next(w, row, first, out, panel);
      round_row(w, row, first, width, panel);
    });
  }
  pool_.parallel_for(rows, [&](int64_t row, int) {
    int q[kMaxGridElems];
    for (int64_t c = 0; c < n_; c += block) {
      std::copy_n(panel.codes.data() + row * n_ + c, block, q);
      write_codes(format_.type, q, out + (row * n_ + c) / block * int64_t(format_.block_bytes()));
    }
  });
  return std::accumulate(panel.cost.begin(), panel.cost.end(), 0.0);
}

}  // namespace

double quantize_with_feedback(const FeedbackPlan& plan, const GridFormat& format,
                              std::span<const float> w, int64_t n_rows, std::byte* out,
                              ThreadPool& pool) {
  const int64_t n = plan.n_cols;
  LM_CHECK(has_grid(format.type) && n % format.block_elems() == 0);
  LM_CHECK(w.size() == size_t(n_rows * n));
  PanelQuantizer quantizer(plan, format, pool);
  double error = 0;
  for (int64_t row = 0; row < n_rows; row += kPanelRows) {
    error += quantizer.run(w.data() + row * n, std::min(kPanelRows, n_rows - row),
                           out + row * int64_t(row_bytes(format.type, n)));
  }
  return error;
}

double output_error(const Hessian& hessian, std::span<const float> e, int64_t n_rows,
                    ThreadPool& pool) {
  const int64_t n = hessian.n_cols();
  LM_CHECK(e.size() == size_t(n_rows * n));
  std::vector<float> eh(e.size(), 0.0f);
  add_product({.a = {e.data(), n, 1},
               .b = {hessian.values().data(), n, 1},
               .m = n_rows,
               .n = n,
               .k = n,
               .c = eh.data(),
               .c_row_step = n},
              pool);
  double sum = 0;
  for (size_t i = 0; i < e.size(); ++i) sum += double(e[i]) * eh[i];
  return sum;
}

}  // namespace lm
