// engine/model/activation_memory.h — the memory of a step's activations, laid out once for the
// largest step.
#pragma once
#include <memory>

#include "backends/backend.h"
#include "engine/core/result.h"
#include "engine/model/config.h"
#include "engine/model/decoder.h"
#include "engine/model/weights.h"

namespace lm {

class ActivationMemory {
 public:
  struct Size {
    int max_tokens, max_seqs, max_logits;
  };
  // Also reserves the backend's workspace.
  static Result<ActivationMemory> allocate(Backend& backend, const ModelConfig& config,
                                           const ModelWeights& weights, const Size& size);

  // Those of a step of this size.
  Activations of(int64_t n_tokens, int64_t n_logits) const;

 private:
  ActivationMemory(std::unique_ptr<Buffer> memory, const Activations& all)
      : memory_(std::move(memory)), all_(all) {}

  std::unique_ptr<Buffer> memory_;
  Activations all_;  // of the largest step
};

}  // namespace lm
