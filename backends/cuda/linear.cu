// The linear layer. Matrices of planes times few rows: the rows are quantized once, and one launch
// multiplies all of them with all matrices of a type (matvec.cuh). Others read their file's rows,
// halves on tensor cores (matvec_halves.cu); more rows go to gemm.cu.
#include <algorithm>

#include "backends/cuda/gemv_rows.h"
#include "backends/cuda/matvec.h"
#include "backends/cuda/ops.h"
#include "backends/cuda/planes.h"
#include "backends/cuda/quantize.h"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

// How few rows are multiplied by a matrix.
enum class Way : uint8_t {
  planes,  // matvec.cuh, with rows of integers
  halves,  // matvec_halves.cu
  any,     // gemv_rows.cu
};

bool in_planes(const Linear& op) {
  return op.weight.layout == kLayoutPlanes;
}

Way way_of(const Context& context, const Linear& op) {
  if (in_planes(op)) return Way::planes;
  return has_halves_matvec(context.facts, op.weight, input_of(op.x)) ? Way::halves : Way::any;
}

void check_linear(const Linear& op, const Linear& first) {
  LM_CHECK(op.x.data() == first.x.data() && op.x.rows() == first.x.rows());
  LM_CHECK(op.x.dtype == DType::f32 && op.out.dtype == DType::f32);
  LM_CHECK(op.weight.rows() == op.weight.shape[2] && op.weight.cols() == op.x.cols());
  LM_CHECK(op.out.cols() == op.weight.rows() && op.out.rows() == op.x.rows());
  LM_CHECK(!op.bias || op.bias.cols() * op.bias.rows() == op.out.cols());
}

MatvecJob job_of(const Linear& op) {
  return {.weights = reinterpret_cast<const uint8_t*>(op.weight.data()),
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
  params.n_passes = (x.rows.n + kMostDecodeRows - 1) / kMostDecodeRows;
  params.tile_bytes =
      in_planes(op) ? tile_bytes(op.weight.dtype, op.x.cols()) : op.weight.row_bytes * kTileRows;
  return params;
}

void run(const Context& context, const Linear& op, MatvecParams& params) {
  const bool wide = params.x.n > 8;
  if (!in_planes(op)) return halves_matvec(context, op.weight.dtype, params, wide);
  count_items(params, kTilesPerBlock);
  matvec_of(op.weight.dtype, wide)(context, params, segments_of(op.x.cols()));
}

// The matrices that go this way, those of a type together.
void run_together(const Context& context, std::span<const Linear> ops, Way way, const Input& x) {
  for (size_t first = 0; first < ops.size(); ++first) {
    const DType type = ops[first].weight.dtype;
    const auto same = [&](const Linear& op) {
      return op.weight.dtype == type && way_of(context, op) == way;
    };
    // Those of its type in front of it went with the first of them.
    const auto begin = ops.begin();
    if (!same(ops[first]) || std::any_of(begin, begin + int64_t(first), same)) continue;
    MatvecParams params = params_of(ops[first], x);
    for (const Linear& op : ops.subspan(first)) {
      if (!same(op)) continue;
      if (params.n_jobs == kMostMatvecJobs) {
        run(context, ops[first], params);
        params.n_jobs = 0;
      }
      params.jobs[params.n_jobs++] = job_of(op);
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

// The rows as they are.
Input plain(Tensor x) {
  return {quantized_rows(nullptr, x.rows(), x.cols()), input_of(x)};
}

// Few rows; x is what the matrices in planes read.
void run_few(const Context& context, std::span<const Linear> ops, const Input& x) {
  run_together(context, ops, Way::planes, x);
  run_together(context, ops, Way::halves, plain(ops[0].x));
  for (const Linear& op : ops) {
    if (way_of(context, op) == Way::any) gemv_rows(context, op);
  }
}

// Whether rows go through the kernels of a decode step, 16 at a time, rather than to gemm.cu. For
// up to 128 of them that takes less: by count 2.4 lane-instructions a 4-bit weight for each 16
// rows, of which an H200 has time for 4.5 while the planes arrive once (others for more), while a
// GEMM moves 8 times the planes' bytes, to write halves and read them. (Neither was measured yet.)
bool few_rows(const Context& context, std::span<const Linear> ops) {
  const int64_t n = ops[0].x.rows();
  return n <= kMostDecodeRows ||
         (n <= kMostPassedRows && std::none_of(ops.begin(), ops.end(), [&](const Linear& op) {
            return way_of(context, op) == Way::any;
          }));
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
      quantized_rows_bytes(std::min(limits.max_tokens, kMostPassedRows), limits.max_linear_in));
}

void linears(const Context& context, std::span<const Linear> ops) {
  if (ops.empty() || ops[0].x.rows() == 0) return;
  for (const Linear& op : ops) check_linear(op, ops[0]);
  if (!few_rows(context, ops)) return gemm(context, ops);
  Input x;
  if (any_in_planes(ops)) x = prepare(context, input_of(ops[0].x), ops[0].x.rows());
  run_few(context, ops, x);
}

void norm_linears(const Context& context, const RmsNorm& norm, std::span<const Linear> ops) {
  if (!any_in_planes(ops) || !few_rows(context, ops)) {
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
  const Way way = way_of(context, gate);
  const bool alike = way != Way::any && way == way_of(context, up) &&
                     gate.weight.dtype == up.weight.dtype &&
                     gate.weight.rows() == up.weight.rows() && !gate.accumulate && !up.accumulate;
  if (norm.x.rows() > kMostPassedRows || !alike) {
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
  Input x;
  if (way == Way::planes) {
    x = prepare(context, input_of(norm), norm.x.rows());
  } else {
    rms_norm(context, norm);
    x = plain(norm.out);
  }
  MatvecParams params = params_of(gate, x);
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
