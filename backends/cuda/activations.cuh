// backends/cuda/activations.cuh — the gated activations (Act), one number at a time: what glu and
// the fused kernels share. exp, tanh and erf are the CUDA library's, accurate to a few ulp.
#pragma once
#include <cuda_runtime.h>

#include "backends/backend.h"

namespace lm::cuda {

// σ(x) = 1 / (1 + exp(-x))
__device__ inline float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

// act(gate) * up
__device__ inline float gated(Act act, float limit, float gate, float up) {
  switch (act) {
    case Act::silu:
      return gate * sigmoid(gate) * up;
    case Act::gelu_tanh: {  // x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))
      const float inner = 0.7978845608f * (gate + 0.044715f * gate * gate * gate);
      return 0.5f * gate * (1.0f + tanhf(inner)) * up;
    }
    case Act::gelu_erf:  // x/2 (1 + erf(x / √2))
      return 0.5f * gate * (1.0f + erff(gate * 0.7071067812f)) * up;
    case Act::swiglu_oai: {
      const float g = fminf(gate, limit), u = fmaxf(-limit, fminf(up, limit));
      return g * sigmoid(1.702f * g) * (u + 1.0f);
    }
  }
  return 0;
}

}  // namespace lm::cuda
