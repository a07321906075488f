// The linear layer. Matrices of planes times few rows: the rows are quantized once, and one launch
// multiplies all matrices of a type (matvec.cuh). Others read their file's rows (gemv_rows.cu);
// more rows go to gemm.cu.
#include <algorithm>
#include <array>

#include "backends/cuda/gemv_rows.h"
#include "backends/cuda/matvec.h"
#include "backends/cuda/ops.h"
#include "backends/cuda/planes.h"
#include "backends/cuda/quantize.h"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

constexpr size_t kMostFusedLinears = 8;

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

// The rows of x: quantized in memory, or to be quantized by the kernel that reads them.
struct Input {
  QuantizedRows rows;
  InputRows raw;
};

MatvecParams params_of(const Linear& op, const Input& x) {
  MatvecParams params;
  params.x = x.rows;
  params.input = x.raw;
  params.tile_bytes = tile_bytes(op.weight.dtype, op.x.cols());
  return params;
}

void run(const Context& context, const Linear& op, const MatvecParams& params) {
  matvec_of(op.weight.dtype, params.x.n > 8)(context, params, segments_of(op.x.cols()));
}

// The matrices in planes, those of a type together.
void run_planes(const Context& context, std::span<const Linear> ops, const Input& x) {
  for (size_t first = 0; first < ops.size(); ++first) {
    const DType type = ops[first].weight.dtype;
    const auto same = [&](const Linear& op) { return in_planes(op) && op.weight.dtype == type; };
    // Those of its type in front of it went with the first of them.
    const auto begin = ops.begin();
    if (!same(ops[first]) || std::any_of(begin, begin + int64_t(first), same)) continue;
    MatvecParams params = params_of(ops[first], x);
    for (const Linear& op : ops.subspan(first)) {
      if (!same(op)) continue;
      if (params.n_jobs == kMostMatvecJobs) {
        run(context, ops[first], params);
        params.n_jobs = params.n_items = 0;
      }
      MatvecJob& job = params.jobs[params.n_jobs++];
      job = job_of(op);
      job.first_item = params.n_items;
      params.n_items += int((tiles_of(job.m) + kTilesPerBlock - 1) / kTilesPerBlock);
    }
    run(context, ops[first], params);
  }
}

bool any_in_planes(std::span<const Linear> ops) {
  return std::any_of(ops.begin(), ops.end(), in_planes);
}

// Quantizes the rows now, unless few enough. Rows that are normed in place have one reader.
Input prepare(const Context& context, const InputRows& raw, int64_t n) {
  const bool in_place = raw.norm != nullptr && raw.normed == raw.x;
  if (n * raw.k <= kMostInputNumbers && !in_place) {
    return {quantized_rows(nullptr, n, raw.k), raw};
  }
  LM_CHECK(size_t(quantized_rows_bytes(n, raw.k)) <=
           context.scratch.bytes[size_t(Scratch::linear)]);
  const QuantizedRows rows = quantized_rows(context.memory(Scratch::linear), n, raw.k);
  if (raw.norm != nullptr) {
    norm_quantize_rows(context, raw, rows);
  } else {
    quantize_rows(context, raw.x, raw.stride, raw.k, rows);
  }
  return {rows, {}};
}

// Few rows; x is what the matrices in planes read.
void run_few(const Context& context, std::span<const Linear> ops, const Input& x) {
  run_planes(context, ops, x);
  for (const Linear& op : ops) {
    if (!in_planes(op)) gemv_rows(context, op);
  }
}

void quantize_and_run(const Context& context, std::span<const Linear> ops) {
  Input x;
  if (any_in_planes(ops)) x = prepare(context, input_of(ops[0].x), ops[0].x.rows());
  run_few(context, ops, x);
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
  std::array<Linear, kMostFusedLinears> pass;
  LM_CHECK(ops.size() <= pass.size());
  std::copy(ops.begin(), ops.end(), pass.begin());
  for (int64_t row = 0; row < n; row += kMostDecodeRows) {
    const int64_t n_rows = std::min<int64_t>(n - row, kMostDecodeRows);
    for (size_t i = 0; i < ops.size(); ++i) {
      pass[i].x = row_range(ops[i].x, row, n_rows);
      pass[i].out = row_range(ops[i].out, row, n_rows);
    }
    quantize_and_run(context, std::span(pass).first(ops.size()));
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

size_t linear_scratch_bytes(const StepLimits& limits) {
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
  run_few(context, ops, prepare(context, input_of(norm), norm.x.rows()));
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
  MatvecParams params = params_of(gate, prepare(context, input_of(norm), norm.x.rows()));
  params.n_items = int(tiles_of(gate.weight.rows()));
  params.n_jobs = 2;
  params.jobs[0] = job_of(gate);
  params.jobs[1] = job_of(up);
  params.jobs[0].out = f32(op.out);
  params.jobs[0].out_stride = f32_stride(op.out);
  params.glu = true;
  params.act = op.act;
  params.limit = op.limit;
  run(context, gate, params);
}

}  // namespace lm::cuda
