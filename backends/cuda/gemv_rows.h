// backends/cuda/gemv_rows.h — a matrix that lies as in the file times up to 16 rows of x.
#pragma once
#include "backends/cuda/ops.h"

namespace lm::cuda {

void gemv_rows(const Context& context, const Linear& op);

// Row i of out = the matrix of expert ids[place] times a row of x, for place = order[i] (null: i).
// The row is that of the place, or `i` itself.
struct ExpertGemv {
  Tensor weight, bias;  // {1, n_experts, m, k}; f32 [n_experts, m]
  const int32_t* ids = nullptr;
  const int32_t* order = nullptr;
  int64_t places = 0;
  float* out = nullptr;  // [places, m]
  const float* x = nullptr;
  int64_t x_stride = 0;
  int x_divisor = 1;           // row of a place: place / divisor
  bool x_by_position = false;  // row i
};
void expert_gemv(const Context& context, const ExpertGemv& op);

}  // namespace lm::cuda
