// The linear layer: a job list of one or more matrices over the same rows.
#include <array>

#include "backends/cpu/ops.h"
#include "backends/cpu/repack.h"
#include "engine/core/check.h"

namespace lm::cpu {

void linears(const Context& context, std::span<const Linear> ops) {
  constexpr size_t kMaxFused = 8;
  if (ops.empty()) return;
  LM_CHECK(ops.size() <= kMaxFused);
  const Tensor x = ops[0].x;
  const int64_t n = x.rows(), k = x.cols();
  std::array<MatmulJob, kMaxFused> jobs;
  bool any_quantized = false;
  for (size_t i = 0; i < ops.size(); ++i) {
    const Linear& op = ops[i];
    LM_CHECK(op.x.data() == x.data() && op.x.rows() == n && op.x.cols() == k);
    LM_CHECK(op.x.dtype == DType::f32 && op.out.dtype == DType::f32);
    LM_CHECK(op.weight.rows() == op.weight.shape[2]);
    LM_CHECK(op.weight.cols() == k && op.out.cols() == op.weight.rows() && op.out.rows() == n);
    LM_CHECK(!op.bias || op.bias.cols() * op.bias.rows() == op.out.cols());
    jobs[i] = {.weight = matrix_view(context, op.weight),
               .x = f32(x),
               .x_stride = f32_stride(x),
               .n = n,
               .out = f32(op.out),
               .out_stride = f32_stride(op.out),
               .bias = op.bias ? f32(op.bias) : nullptr,
               .accumulate = op.accumulate};
    any_quantized = any_quantized || reads_quantized(jobs[i].weight);
  }
  if (any_quantized) {
    const ActBlock* quantized = quantize_rows(context, f32(x), f32_stride(x), n, k);
    for (MatmulJob& job : jobs) job.quantized = quantized;
  }
  run_jobs(context, std::span(jobs).first(ops.size()));
}

}  // namespace lm::cpu
