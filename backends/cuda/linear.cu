// The linear layer. Matrices of planes times few rows: the rows are quantized once, and one launch
// multiplies all matrices of a type (matvec.cuh). Others read their file's rows (row_linear.cu);
// more rows go to gemm.cu.
#include <algorithm>
#include <vector>

#include "backends/cuda/gemv_rows.h"
#include "backends/cuda/matvec.h"
#include "backends/cuda/ops.h"
#include "backends/cuda/planes.h"
#include "backends/cuda/quantize.h"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

bool in_planes(const Linear& op) {
  return op.weight.layout == kLayoutPlanes;
}

void check_linear(const Linear& op, const Linear& first) {
  LM_CHECK(op.x.data() == first.x.data() && op.x.rows() == first.x.rows());
  LM_CHECK(op.x.dtype == DType::f32 && op.out.dtype == DType::f32);
  LM_CHECK(op.weight.rows() == op.weight.shape[2] && op.weight.cols() == op.x.cols());
  LM_CHECK(op.out.cols() == op.weight.rows() && op.out.rows() == op.x.rows());
  LM_CHECK(!op.bias || op.bias.cols() * op.bias.rows() == op.out.cols());
}

MatvecJob job_of(const Linear& op) {
  return {.planes = reinterpret_cast<const uint8_t*>(op.weight.data()),
          .m = op.weight.rows(),
          .out = f32(op.out),
          .out_stride = f32_stride(op.out),
          .bias = op.bias ? f32(op.bias) : nullptr,
          .accumulate = op.accumulate};
}

MatvecParams params_of(const Linear& op, const QuantizedRows& x) {
  MatvecParams params;
  params.x = x;
  params.tile_bytes = tile_bytes(op.weight.dtype, op.x.cols());
  return params;
}

void run(const Context& context, DType type, int64_t k, const MatvecParams& params, int n_blocks) {
  matvec_of(type, params.x.n > 8)(context, params, segments_of(k), n_blocks);
}

// The matrices in planes, those of a type together.
void run_planes(const Context& context, std::span<const Linear> ops, const QuantizedRows& x) {
  for (size_t first = 0; first < ops.size(); ++first) {
    const DType type = ops[first].weight.dtype;
    const auto same = [&](const Linear& op) { return in_planes(op) && op.weight.dtype == type; };
    // Those of its type in front of it went with the first of them.
    const auto begin = ops.begin();
    if (!same(ops[first]) || std::any_of(begin, begin + int64_t(first), same)) continue;
    MatvecParams params = params_of(ops[first], x);
    int n_blocks = 0;
    for (const Linear& op : ops.subspan(first)) {
      if (!same(op)) continue;
      if (params.n_jobs == kMostMatvecJobs) {
        run(context, type, op.x.cols(), params, n_blocks);
        params.n_jobs = n_blocks = 0;
      }
      MatvecJob& job = params.jobs[params.n_jobs++];
      job = job_of(op);
      job.first_block = n_blocks;
      n_blocks += int((tiles_of(job.m) + kTilesPerBlock - 1) / kTilesPerBlock);
    }
    run(context, type, ops[first].x.cols(), params, n_blocks);
  }
}

QuantizedRows scratch_rows(const Context& context, Tensor x) {
  LM_CHECK(size_t(quantized_rows_bytes(x.rows(), x.cols())) <=
           context.scratch.bytes[size_t(Scratch::linear)]);
  return quantized_rows(context.memory(Scratch::linear), x.rows(), x.cols());
}

bool any_in_planes(std::span<const Linear> ops) {
  return std::any_of(ops.begin(), ops.end(), in_planes);
}

// Few rows, whose quantized form is `x` where a matrix in planes needs it.
void run_few(const Context& context, std::span<const Linear> ops, const QuantizedRows& x) {
  run_planes(context, ops, x);
  for (const Linear& op : ops) {
    if (!in_planes(op)) gemv_rows(context, op);
  }
}

void quantize_and_run(const Context& context, std::span<const Linear> ops) {
  QuantizedRows rows;
  if (any_in_planes(ops)) {
    rows = scratch_rows(context, ops[0].x);
    quantize_rows(context, f32(ops[0].x), f32_stride(ops[0].x), ops[0].x.cols(), rows);
  }
  run_few(context, ops, rows);
}

// More rows than a decode step's. Up to kMostPassedRows in passes of a decode step's: four times
// the planes are fewer bytes than once the planes in, f16 out and f16 in again (8.5 bits a
// weight: 4.2 against 5.1 bytes), and the numbers stay those of a decode step.
void run_many(const Context& context, std::span<const Linear> ops) {
  constexpr int64_t kMostPassedRows = 4 * kMostDecodeRows;
  const int64_t n = ops[0].x.rows();
  if (n > kMostPassedRows || !std::all_of(ops.begin(), ops.end(), in_planes)) {
    gemm(context, ops);
    return;
  }
  std::vector<Linear> pass(ops.begin(), ops.end());
  for (int64_t row = 0; row < n; row += kMostDecodeRows) {
    const int64_t n_rows = std::min<int64_t>(n - row, kMostDecodeRows);
    for (size_t i = 0; i < ops.size(); ++i) {
      pass[i].x = row_range(ops[i].x, row, n_rows);
      pass[i].out = row_range(ops[i].out, row, n_rows);
    }
    quantize_and_run(context, pass);
  }
}

}  // namespace

MatvecLauncher matvec_of(DType type, bool wide) {
  for (const auto family : {basic_matvec, k_matvec, other_matvec}) {
    if (const MatvecLauncher found = family(type, wide)) return found;
  }
  LM_CHECK(false);
  return nullptr;
}

Status prepare_linear(const DeviceFacts&) {
  return ok();
}

size_t linear_scratch_bytes(const StepLimits& limits, const DeviceFacts&) {
  return size_t(
      quantized_rows_bytes(std::min(limits.max_tokens, kMostDecodeRows), limits.max_linear_in));
}

void linears(const Context& context, std::span<const Linear> ops) {
  if (ops.empty() || ops[0].x.rows() == 0) return;
  for (const Linear& op : ops) check_linear(op, ops[0]);
  if (ops[0].x.rows() > kMostDecodeRows) return run_many(context, ops);
  quantize_and_run(context, ops);
}

void norm_linears(const Context& context, const RmsNorm& norm, std::span<const Linear> ops) {
  if (norm.x.rows() > kMostDecodeRows || !any_in_planes(ops)) {
    rms_norm(context, norm);
    linears(context, ops);
    return;
  }
  for (const Linear& op : ops) check_linear(op, ops[0]);
  LM_CHECK(ops[0].x.data() == norm.out.data() && norm.out.rows() == norm.x.rows());
  if (norm.x.rows() == 0) return;
  const QuantizedRows rows = scratch_rows(context, norm.out);
  norm_quantize_rows(context, norm, rows);
  run_few(context, ops, rows);
}

void norm_glu(const Context& context, const RmsNorm& norm, const Linear& gate, const Linear& up,
              const Glu& op) {
  const bool alike = in_planes(gate) && in_planes(up) && gate.weight.dtype == up.weight.dtype &&
                     gate.weight.rows() == up.weight.rows() && !gate.accumulate && !up.accumulate;
  if (norm.x.rows() > kMostDecodeRows || !alike) {
    const Linear both[] = {gate, up};
    norm_linears(context, norm, both);
    glu(context, op);
    return;
  }
  check_linear(gate, gate);
  check_linear(up, gate);
  LM_CHECK(gate.x.data() == norm.out.data() && op.out.rows() == norm.x.rows());
  LM_CHECK(op.out.cols() == gate.weight.rows());
  if (norm.x.rows() == 0) return;
  const QuantizedRows rows = scratch_rows(context, norm.out);
  norm_quantize_rows(context, norm, rows);
  MatvecParams params = params_of(gate, rows);
  params.n_jobs = 2;
  params.jobs[0] = job_of(gate);
  params.jobs[1] = job_of(up);
  params.jobs[0].out = f32(op.out);
  params.jobs[0].out_stride = f32_stride(op.out);
  params.glu = true;
  params.act = op.act;
  params.limit = op.limit;
  run(context, gate.weight.dtype, gate.x.cols(), params, int(tiles_of(gate.weight.rows())));
}

}  // namespace lm::cuda
