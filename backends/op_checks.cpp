#include "backends/op_checks.h"

#include "engine/core/check.h"

namespace lm {

void check_shapes(const Rope& op, const StepView& step) {
  const int64_t n = op.q.shape[1], head_dim = op.q.shape[3];
  const int64_t n_freqs = op.inv_freq.rows() * op.inv_freq.cols();
  LM_CHECK(op.q.dtype == DType::f32 && op.q.shape[0] == 1 && 2 * n_freqs <= head_dim);
  LM_CHECK(!op.k || (op.k.dtype == DType::f32 && op.k.shape[1] == n && op.k.shape[3] == head_dim));
  LM_CHECK(step.positions.cols() * step.positions.rows() >= n);
}

void check_shapes(const MoeRoute& op) {
  const int64_t n = op.logits.rows(), n_experts = op.logits.cols();
  LM_CHECK(op.logits.dtype == DType::f32 && op.ids.dtype == DType::i32);
  LM_CHECK(op.weights.dtype == DType::f32 && op.ids.rows() == n && op.weights.rows() == n);
  LM_CHECK(op.top_k >= 1 && op.top_k <= n_experts && op.ids.cols() == op.top_k);
}

void check_shapes(const MoeFfn& op) {
  const int64_t n_experts = op.gate.shape[1], d_ff = op.gate.shape[2], d_model = op.x.cols();
  LM_CHECK(op.gate.shape[0] == 1 && op.up.shape == op.gate.shape && op.gate.dtype == op.up.dtype);
  LM_CHECK(op.down.shape[1] == n_experts && op.down.shape[2] == d_model);
  LM_CHECK(op.gate.shape[3] == d_model && op.down.shape[3] == d_ff);
  LM_CHECK(op.x.rows() == op.out.rows() && op.out.cols() == d_model);
  LM_CHECK(op.ids.rows() == op.x.rows() && op.weights.rows() == op.x.rows());
}

void check_shapes(const TopCandidates& op) {
  const int64_t n = op.logits.rows(), k = op.ids.cols();
  LM_CHECK(op.logits.dtype == DType::f32 && op.ids.dtype == DType::i32 &&
           op.values.dtype == DType::f32 && op.totals.dtype == DType::f32);
  LM_CHECK(op.ids.rows() == n && op.values.rows() == n && op.totals.rows() == n);
  LM_CHECK(op.logits.cols() > 0 && k > 0 && k <= kMostCandidates && op.values.cols() == k &&
           op.totals.cols() == 2);
}

void check_shapes(const DrawTokens& op) {
  const int64_t k = op.ids.cols();
  LM_CHECK(op.ids.dtype == DType::i32 && op.values.dtype == DType::f32 && op.values.cols() == k &&
           k > 0 && k <= kMostCandidates);
  LM_CHECK(op.rules.dtype == DType::i32 && op.rules.cols() == kDrawRuleWords &&
           op.rules.row_bytes == int64_t(sizeof(DrawRule)));
  LM_CHECK(op.tokens.dtype == DType::i32 && op.tokens.rows() == 1 &&
           op.tokens.cols() == op.rules.rows());
}

}  // namespace lm
