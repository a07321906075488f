// backends/cpu/matmul.h — products of weights with rows of activations, as a list of jobs that the
// threads share. Every operation that multiplies (linear, fused linears, experts) makes jobs.
#pragma once
#include <cstdint>
#include <optional>
#include <span>

#include "backends/cpu/isa/kernels.h"
#include "backends/tensor.h"

namespace lm::cpu {

struct Context;

// One matrix [m, k] of a weight, in the layout that load_weight gave it.
struct MatrixView {
  const std::byte* data = nullptr;
  DType dtype = DType::f32;
  uint8_t layout = 0;
  int64_t m = 0, k = 0;
  int64_t stride = 0;  // bytes between rows, or between panels
};

// out[row] = x[x_rows[row]] Wᵀ + bias, or out += that, for row < n.
struct MatmulJob {
  MatrixView weight;
  const float* x = nullptr;  // [.., x_stride]
  int64_t x_stride = 0;
  const ActBlock* quantized = nullptr;  // the same rows, k / 32 blocks each
  const int32_t* x_rows = nullptr;      // null: row i of x makes row i of out
  int64_t n = 0;
  float* out = nullptr;
  int64_t out_stride = 0;
  const float* bias = nullptr;  // [m] or null
  bool accumulate = false;
  int64_t first_item = 0;  // set by run_jobs: where this job's pieces of work start
  int panels_per_item = 0;
};

// Matrix `index` of a weight {1, n_matrices, m, k}.
MatrixView matrix_view(const Context& context, Tensor weight, int64_t index = 0);
// Whether the kernels read this weight with integer activations.
bool reads_quantized(const MatrixView& weight);
// context.workspace.activations = rows of x, quantized. Returns them.
const ActBlock* quantize_rows(const Context& context, const float* x, int64_t stride, int64_t n,
                              int64_t k);
// Runs all jobs in one parallel section.
void run_jobs(const Context& context, std::span<MatmulJob> jobs);

}  // namespace lm::cpu
