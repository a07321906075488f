// engine/model/layer_runner.h — a decoder one layer at a time: what quantizes a model layer by
// layer needs. Only the weights of one layer are in memory; the residual stream between layers is
// the caller's.
#pragma once
#include <memory>
#include <span>

#include "backends/backend.h"
#include "engine/core/result.h"
#include "engine/core/token.h"
#include "engine/model/config.h"
#include "gguf/file.h"

namespace lm {

class LayerRunner {
 public:
  // `backend` and the file's mapping must outlive the runner. max_tokens: of one sequence.
  static Result<LayerRunner> open(const gguf::File& file, Backend& backend, int max_tokens);
  LayerRunner(LayerRunner&&) noexcept;
  LayerRunner& operator=(LayerRunner&&) noexcept;
  ~LayerRunner();

  const ModelConfig& config() const;

  // x [n, d_model] = what enters the first layer. bad_request for an id outside the vocabulary.
  Status embed(std::span<const TokenId> ids, std::span<float> x);
  // Replaces the layer in memory by layer `i` as `weights` has it, which may be another file than
  // the model's: it must hold at least the layer's tensors, and be there as long as the layer is.
  Status load(int i, const gguf::File& weights);
  // x [n, d_model], a sequence from position 0: what enters the layer becomes what leaves it.
  Status run(std::span<float> x);

 private:
  struct Impl;
  explicit LayerRunner(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lm
