// backends/cuda/gemv_rows.h — a matrix that lies as in the file times up to 16 rows of x.
#pragma once
#include "backends/cuda/ops.h"

namespace lm::cuda {

void gemv_rows(const Context& context, const Linear& op);

}  // namespace lm::cuda
