// engine/model/activation_memory.h — the memory of a step's activations in one room, laid out once
// for the largest step and for the work that is done there.
#pragma once
#include <memory>

#include "backends/backend.h"
#include "engine/core/result.h"
#include "engine/model/config.h"
#include "engine/model/passage.h"
#include "engine/model/placement.h"

namespace lm {

class ActivationMemory {
 public:
  struct Size {
    int max_tokens, max_seqs, max_logits;
  };
  // Also reserves the backend's workspace.
  static Result<ActivationMemory> allocate(Backend& backend, const ModelConfig& config,
                                           bool has_orders, const Placement& placement, int room,
                                           const Size& size);
  // What that takes, without the workspace, of a model whose matrices have their own order of
  // columns or not.
  static uint64_t bytes(const ModelConfig& config, bool has_orders, const Placement& placement,
                        int room, const Size& size);
  // What the workspace is reserved for.
  static StepLimits limits(const ModelConfig& config, const Placement& placement, int room,
                           const Size& size);

  // Those of a step of this size.
  Activations of(int64_t n_tokens, int64_t n_logits) const;

 private:
  ActivationMemory(std::unique_ptr<Buffer> memory, const Activations& all)
      : memory_(std::move(memory)), all_(all) {}

  std::unique_ptr<Buffer> memory_;
  Activations all_;  // of the largest step
};

}  // namespace lm
