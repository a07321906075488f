// Mixture of experts: which experts a row goes to, and the experts' feed-forward networks.
// Rows are sorted by expert, so that each expert's weights are read once for all its rows; a row's
// own sum still runs over its choices in order.
#include <algorithm>
#include <cmath>

#include "backends/cpu/ops.h"
#include "backends/op_checks.h"
#include "engine/core/check.h"

namespace lm::cpu {
namespace {

// scores = softmax or sigmoid of one row of logits.
void expert_scores(const Kernels& kernels, const float* logits, int64_t n, bool sigmoid,
                   float* scores) {
  std::copy_n(logits, n, scores);
  if (sigmoid) {
    for (int64_t e = 0; e < n; ++e) scores[e] = 1 / (1 + kernels.exp(-logits[e]));
    return;
  }
  const SoftmaxPart part = kernels.softmax_part(scores, int(n));
  for (int64_t e = 0; e < n; ++e) scores[e] /= part.l;
}

// The largest scores + bias, best first; of equal ones the lower index. `taken` marks the chosen.
void choose_experts(const float* scores, const float* bias, int64_t n, int top_k, float* taken,
                    int32_t* ids) {
  std::fill_n(taken, n, 0.0f);
  for (int j = 0; j < top_k; ++j) {
    int64_t best = -1;
    float best_score = 0;
    for (int64_t e = 0; e < n; ++e) {
      if (taken[e] != 0) continue;
      const float score = scores[e] + (bias != nullptr ? bias[e] : 0);
      if (best < 0 || score > best_score) {
        best = e;
        best_score = score;
      }
    }
    taken[best] = 1;
    ids[j] = int32_t(best);
  }
}

}  // namespace

void moe_route(const Context& context, const MoeRoute& op) {
  const int64_t n = op.logits.rows(), n_experts = op.logits.cols();
  check_shapes(op);
  LM_CHECK(2 * n_experts <= context.workspace.thread_floats);
  context.pool.parallel_for(n, [&](int64_t row, int thread) {
    float* scores = context.workspace.scratch(thread);
    int32_t* ids = reinterpret_cast<int32_t*>(op.ids.data() + row * op.ids.row_bytes);
    float* weights = f32_row(op.weights, row);
    expert_scores(context.kernels, f32_row(op.logits, row), n_experts, op.sigmoid, scores);
    choose_experts(scores, op.bias ? f32(op.bias) : nullptr, n_experts, op.top_k,
                   scores + n_experts, ids);
    float sum = 0;
    for (int j = 0; j < op.top_k; ++j) sum += scores[ids[j]];
    const float factor = op.normalise ? op.scale / sum : op.scale;
    for (int j = 0; j < op.top_k; ++j) weights[j] = scores[ids[j]] * factor;
  });
}

namespace {

// Sorts the n · top_k choices by expert (a counting sort: rows stay in order within an expert).
void sort_by_expert(const MoeRows& rows, Tensor ids, int64_t n_experts) {
  const int64_t n = ids.rows(), top_k = ids.cols();
  const auto id = [&](int64_t row, int64_t j) {
    const int32_t expert = reinterpret_cast<const int32_t*>(ids.data() + row * ids.row_bytes)[j];
    LM_CHECK(expert >= 0 && expert < n_experts);
    return expert;
  };
  std::fill_n(rows.first, n_experts + 1, 0);
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t j = 0; j < top_k; ++j) ++rows.first[id(row, j) + 1];
  }
  for (int64_t e = 0; e < n_experts; ++e) rows.first[e + 1] += rows.first[e];
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t j = 0; j < top_k; ++j) {
      const int32_t place = rows.first[id(row, j)]++;  // becomes the expert's end, restored below
      rows.row[place] = int32_t(row);
      rows.place[row * top_k + j] = place;
    }
  }
  for (int64_t e = n_experts; e > 0; --e) rows.first[e] = rows.first[e - 1];
  rows.first[0] = 0;
}

// The rows of x (or of a hidden buffer) that the experts multiply.
struct ExpertInput {
  const float* x;
  int64_t stride;
  const ActBlock* quantized;
  bool by_row;  // rows of x are the step's rows; otherwise they are places
};

// One job for each expert that has rows.
MatmulJob* add_jobs(const Context& context, Tensor weight, Tensor bias, const ExpertInput& input,
                    float* out, MatmulJob* job) {
  const MoeRows& rows = context.workspace.moe;
  const int64_t m = weight.shape[2], k = weight.shape[3];
  for (int64_t e = 0; e < weight.shape[1]; ++e) {
    const int64_t first = rows.first[e], n = rows.first[e + 1] - first;
    if (n == 0) continue;
    *job = {.weight = matrix_view(context, weight, e),
            .x = input.x,
            .x_stride = input.stride,
            .quantized = input.quantized,
            .x_rows = rows.row + first,
            .n = n,
            .out = out + first * m,
            .out_stride = m,
            .bias = bias ? f32_row(bias, e) : nullptr};
    if (!input.by_row) {
      job->x += first * input.stride;
      if (input.quantized != nullptr) job->quantized += first * (k / 32);
      job->x_rows = nullptr;
    }
    ++job;
  }
  return job;
}

// The input as the weight's kernel wants it.
ExpertInput prepare(const Context& context, Tensor weight, const float* x, int64_t stride,
                    int64_t n, bool by_row) {
  const bool quantized = reads_quantized(matrix_view(context, weight));
  return {x, stride, quantized ? quantize_rows(context, x, stride, n, weight.shape[3]) : nullptr,
          by_row};
}

void check_moe(const Context& context, const MoeFfn& op) {
  check_shapes(op);
  const int64_t n_experts = op.gate.shape[1], d_ff = op.gate.shape[2], d_model = op.x.cols();
  const StepLimits& limits = context.workspace.limits;
  LM_CHECK(op.x.rows() <= limits.max_tokens && op.ids.cols() <= limits.top_k);
  LM_CHECK(n_experts <= limits.n_experts && d_ff <= limits.d_ff_expert);
  LM_CHECK(d_model <= limits.max_linear_out);
}

}  // namespace

void moe_ffn(const Context& context, const MoeFfn& op) {
  check_moe(context, op);
  const Workspace& ws = context.workspace;
  const int64_t n = op.x.rows(), top_k = op.ids.cols(), n_places = n * top_k;
  const int64_t d_ff = op.gate.shape[2], d_model = op.x.cols();
  sort_by_expert(ws.moe, op.ids, op.gate.shape[1]);

  const ExpertInput x = prepare(context, op.gate, f32(op.x), f32_stride(op.x), n, true);
  MatmulJob* end = add_jobs(context, op.gate, op.gate_bias, x, ws.moe_gate, ws.jobs);
  end = add_jobs(context, op.up, op.up_bias, x, ws.moe_up, end);
  run_jobs(context, std::span(ws.jobs, end));

  const GluKernel act = glu_kernel(context.kernels, op.act);
  context.pool.parallel_for(n_places, [&](int64_t i, int) {
    act(ws.moe_gate + i * d_ff, ws.moe_up + i * d_ff, op.limit, d_ff, ws.moe_gate + i * d_ff);
  });

  const ExpertInput hidden = prepare(context, op.down, ws.moe_gate, d_ff, n_places, false);
  end = add_jobs(context, op.down, op.down_bias, hidden, ws.moe_down, ws.jobs);
  run_jobs(context, std::span(ws.jobs, end));

  context.pool.parallel_for(n, [&](int64_t row, int) {
    for (int64_t j = 0; j < top_k; ++j) {
      const float* y = ws.moe_down + ws.moe.place[row * top_k + j] * d_model;
      context.kernels.scale_add(f32_row(op.out, row), 1, y, f32_row(op.weights, row)[j], d_model);
    }
  });
}

}  // namespace lm::cpu
