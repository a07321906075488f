// Operations that work on each row by itself: embed, norms, rope, activations, sums, copies.
#include <cmath>
#include <cstring>

#include "backends/cpu/ops.h"
#include "backends/op_checks.h"
#include "engine/core/check.h"
#include "quant/decode.h"

namespace lm::cpu {

GluKernel glu_kernel(const Kernels& kernels, Act act) {
  switch (act) {
    case Act::silu:
      return kernels.silu;
    case Act::gelu_tanh:
      return kernels.gelu_tanh;
    case Act::gelu_erf:
      return kernels.gelu_erf;
    case Act::swiglu_oai:
      return kernels.swiglu_oai;
  }
  LM_CHECK(false);
}

void embed(const Context& context, Tensor table, Tensor ids, float scale, Tensor out) {
  const int64_t n = out.rows(), cols = out.cols();
  LM_CHECK(table.layout == 0 && table.cols() == cols && out.dtype == DType::f32);
  LM_CHECK(ids.dtype == DType::i32 && ids.rows() * ids.cols() >= n);
  context.pool.parallel_for(n, [&](int64_t row, int) {
    const int64_t id = i32(ids)[row];
    LM_CHECK(id >= 0 && id < table.rows());
    float* dst = f32_row(out, row);
    decode(table.dtype, table.data() + id * table.row_bytes, dst, cols);
    if (scale != 1) {
      for (int64_t i = 0; i < cols; ++i) dst[i] *= scale;
    }
  });
}

void rms_norm(const Context& context, const RmsNorm& op) {
  LM_CHECK(op.x.dtype == DType::f32 && op.out.dtype == DType::f32 && op.weight.dtype == DType::f32);
  LM_CHECK(op.x.rows() == op.out.rows() && op.x.cols() == op.out.cols());
  LM_CHECK(op.weight.rows() * op.weight.cols() == op.x.cols());
  context.pool.parallel_for(op.x.rows(), [&](int64_t row, int) {
    context.kernels.rms_norm(f32_row(op.x, row), f32(op.weight), op.eps, op.x.cols(),
                             f32_row(op.out, row));
  });
}

namespace {

// cos and sin of every angle of a row. The angle is a product of up to 2^31 and a frequency: it is
// taken in f64 so that no position loses bits.
void rope_angles(const float* inv_freq, int64_t n_freqs, int32_t position, float magnitude,
                 float* cos, float* sin) {
  for (int64_t i = 0; i < n_freqs; ++i) {
    const double angle = double(position) * double(inv_freq[i]);
    cos[i] = float(std::cos(angle)) * magnitude;
    sin[i] = float(std::sin(angle)) * magnitude;
  }
}

}  // namespace

void rope(const Context& context, const Rope& op, const StepView& step) {
  check_shapes(op, step);
  const int64_t n = op.q.shape[1], n_freqs = op.inv_freq.rows() * op.inv_freq.cols();
  LM_CHECK(2 * n_freqs <= context.workspace.thread_floats);
  const auto rotate = op.neox ? context.kernels.rotate_halves : context.kernels.rotate_pairs;
  context.pool.parallel_for(n, [&](int64_t row, int thread) {
    float* cos = context.workspace.scratch(thread);
    float* sin = cos + n_freqs;
    rope_angles(f32(op.inv_freq), n_freqs, i32(step.positions)[row], op.magnitude, cos, sin);
    for (const Tensor& t : {op.q, op.k}) {
      if (!t) continue;
      for (int64_t head = 0; head < t.shape[2]; ++head) {
        rotate(f32_row(t, row * t.shape[2] + head), cos, sin, n_freqs);
      }
    }
  });
}

void glu(const Context& context, const Glu& op) {
  LM_CHECK(op.gate.dtype == DType::f32 && op.up.dtype == DType::f32 && op.out.dtype == DType::f32);
  LM_CHECK(op.gate.rows() == op.out.rows() && op.up.rows() == op.out.rows());
  LM_CHECK(op.gate.cols() == op.out.cols() && op.up.cols() == op.out.cols());
  const GluKernel kernel = glu_kernel(context.kernels, op.act);
  context.pool.parallel_for(op.out.rows(), [&](int64_t row, int) {
    kernel(f32_row(op.gate, row), f32_row(op.up, row), op.limit, op.out.cols(),
           f32_row(op.out, row));
  });
}

void add(const Context& context, Tensor a, Tensor b, Tensor out) {
  LM_CHECK(a.dtype == DType::f32 && b.dtype == DType::f32 && out.dtype == DType::f32);
  LM_CHECK(a.rows() == out.rows() && a.cols() == out.cols());
  LM_CHECK(b.rows() == out.rows() && b.cols() == out.cols());
  context.pool.parallel_for(out.rows(), [&](int64_t row, int) {
    context.kernels.add(f32_row(a, row), f32_row(b, row), out.cols(), f32_row(out, row));
  });
}

void gather_rows(const Context& context, Tensor x, Tensor row_ids, Tensor out) {
  LM_CHECK(x.layout == 0 && x.dtype == out.dtype && x.cols() == out.cols());
  LM_CHECK(row_ids.dtype == DType::i32 && row_ids.rows() * row_ids.cols() >= out.rows());
  const size_t bytes = row_bytes(out.dtype, out.cols());
  context.pool.parallel_for(out.rows(), [&](int64_t row, int) {
    const int64_t id = i32(row_ids)[row];
    LM_CHECK(id >= 0 && id < x.rows());
    std::memcpy(out.data() + row * out.row_bytes, x.data() + id * x.row_bytes, bytes);
  });
}

void gather_columns(const Context& context, Tensor x, Tensor columns, Tensor out) {
  const int64_t n = out.cols();
  LM_CHECK(x.dtype == DType::f32 && out.dtype == DType::f32 && columns.dtype == DType::i32);
  LM_CHECK(x.rows() == out.rows() && columns.rows() * columns.cols() == n);
  const int32_t* from = i32(columns);
  context.pool.parallel_for(out.rows(), [&](int64_t row, int) {
    const float* in = f32_row(x, row);
    float* dst = f32_row(out, row);
    for (int64_t j = 0; j < n; ++j) dst[j] = in[from[j]];
  });
}

}  // namespace lm::cpu
