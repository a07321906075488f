// backends/observe.h — a backend that shows the inputs of matrices as they go by: what importance
// matrices and Hessians are made from. It stands between a model and its backend, so that neither
// the model nor the backends know of it.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "backends/backend.h"

namespace lm {

// Rows that enter one matrix.
struct MatrixInput {
  std::string_view tensor;  // HostTensor::name of the matrix: "blk.0.ffn_down.weight"
  int expert = 0, n_experts = 1;
  std::span<const float> rows;  // [n, k]
  int64_t n = 0, k = 0;
};

class ActivationObserver {
 public:
  virtual ~ActivationObserver() = default;
  // Asked once for each matrix, when it is loaded.
  virtual bool wants(std::string_view tensor) = 0;
  // Called before the product, in the order of the model, on the thread that runs the step. Of a
  // matrix in a file that holds several together (phi3's attn_qkv), for each of them.
  virtual void observe(const MatrixInput& input) = 0;
};

// `inner`, watched. Slower: inputs are copied out, and experts run one after the other, which also
// adds their results in the order of the experts instead of the choices.
std::unique_ptr<Backend> observe(std::unique_ptr<Backend> inner, ActivationObserver& observer);

}  // namespace lm
