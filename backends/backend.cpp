#include "backends/backend.h"

#include "engine/core/check.h"
#include "engine/core/text.h"

namespace lm {

Tensor first_rows(Tensor t, int64_t n) {
  return row_range(t, 0, n);
}

Tensor row_range(Tensor t, int64_t first, int64_t n) {
  LM_CHECK(t.layout == 0 && first >= 0 && n >= 0 && first + n <= t.rows());
  t.offset += uint64_t(first * t.row_bytes);
  t.shape = {1, 1, n, t.cols()};
  return t;
}

Tensor reshaped(Tensor t, int64_t rows, int64_t cols) {
  LM_CHECK(t.layout == 0 && t.rows() * t.cols() == rows * cols);
  LM_CHECK(t.rows() <= 1 || t.row_bytes == int64_t(row_bytes(t.dtype, t.cols())));
  t.shape = {1, 1, rows, cols};
  t.row_bytes = int64_t(row_bytes(t.dtype, cols));
  return t;
}

void Backend::norm_linears(const RmsNorm& norm, std::span<const Linear> linears) {
  rms_norm(norm);
  for (const Linear& op : linears) linear(op);
}

void Backend::norm_glu(const RmsNorm& norm, const Linear& gate, const Linear& up, const Glu& op) {
  rms_norm(norm);
  linear(gate);
  linear(up);
  glu(op);
}

Result<DeviceLimits> Backend::measure_limits() {
  return Error{ErrorCode::unsupported, concat("the limits of ", name(), " can't be measured")};
}

void Backend::run(StepKey, Body body, void* self) {
  body(self);
}

}  // namespace lm
