// The largest logits of a row, by a heap of the best so far: few logits get past its smallest.
#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/cpu/ops.h"
#include "backends/op_checks.h"

namespace lm::cpu {
namespace {

struct Scored {
  float logit;
  int32_t id;
};

bool larger(const Scored& a, const Scored& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

float bounded(float logit) {
  if (std::isnan(logit)) return -std::numeric_limits<float>::infinity();
  return std::min(logit, std::numeric_limits<float>::max());
}

void top_of_row(const float* logits, int64_t n_vocab, int k, int32_t* ids, float* values,
                float* totals) {
  Scored best[kMostCandidates];
  int n = 0;
  for (int64_t id = 0; id < n_vocab; ++id) {
    const Scored next{bounded(logits[id]), int32_t(id)};
    if (n == k && !larger(next, best[0])) continue;
    if (n == k) std::pop_heap(best, best + n--, larger);
    best[n++] = next;
    std::push_heap(best, best + n, larger);
  }
  std::sort_heap(best, best + n, larger);
  for (int i = 0; i < k; ++i) {
    ids[i] = i < n ? best[i].id : -1;
    values[i] = i < n ? best[i].logit : -std::numeric_limits<float>::infinity();
  }
  double sum = 0;
  for (int64_t id = 0; id < n_vocab; ++id) sum += double(std::exp(bounded(logits[id]) - values[0]));
  totals[0] = values[0];
  totals[1] = float(std::log(sum));
}

}  // namespace

void top_candidates(const Context& context, const TopCandidates& op) {
  const int64_t n = op.logits.rows(), n_vocab = op.logits.cols(), k = op.ids.cols();
  check_shapes(op);
  context.pool.parallel_for(n, [&](int64_t row, int) {
    top_of_row(f32_row(op.logits, row), n_vocab, int(k),
               reinterpret_cast<int32_t*>(op.ids.data() + row * op.ids.row_bytes),
               f32_row(op.values, row), f32_row(op.totals, row));
  });
}

}  // namespace lm::cpu
