#include "engine/model/model.h"

#include <optional>
#include <utility>

#include "engine/core/check.h"
#include "engine/model/activation_memory.h"
#include "engine/model/decoder.h"
#include "engine/model/weights.h"

namespace lm {
struct Model::Impl {
  gguf::File file;  // keeps the mapping that weights may be read from
  Backend* backend;
  ModelConfig config;
  std::unique_ptr<ModelWeights> weights;

  int max_tokens = 0, max_seqs = 0, max_logits = 0;
  std::optional<ActivationMemory> activations{};
};

Model::Model(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

const ModelConfig& Model::config() const {
  return impl_->config;
}
uint64_t Model::weight_bytes() const {
  return impl_->weights->bytes_per_token;
}

Result<Model> Model::load(const gguf::File& file, Backend& backend, const LoadOptions& options) {
  ModelConfig config = LM_TRY(read_config(file));
  const int n_ctx = options.n_ctx > 0 ? options.n_ctx : config.n_ctx_train;
  std::unique_ptr<ModelWeights> weights =
      LM_TRY(load_weights(file, config, backend, n_ctx, options.in_place, options.progress));
  return Model(
      std::unique_ptr<Impl>(new Impl{file, &backend, std::move(config), std::move(weights)}));
}

Status Model::reserve(int max_tokens, int max_seqs, int max_logits) {
  LM_CHECK(max_tokens > 0 && max_seqs > 0 && max_logits >= 0);
  Impl& m = *impl_;
  m.activations = LM_TRY(ActivationMemory::allocate(
      *m.backend, m.config, *m.weights,
      {.max_tokens = max_tokens, .max_seqs = max_seqs, .max_logits = max_logits}));
  m.max_tokens = max_tokens;
  m.max_seqs = max_seqs;
  m.max_logits = max_logits;
  return ok();
}

void Model::forward(const StepView& step, const StepView& windowed, std::span<const KvLayer> kv,
                    Tensor logit_rows, Tensor logits) {
  const Impl& m = *impl_;
  Backend& b = *m.backend;
  const int64_t n_logits = logits ? logits.rows() : 0;
  LM_CHECK(step.n_tokens > 0 && step.n_tokens <= m.max_tokens && step.n_seqs <= m.max_seqs);
  LM_CHECK(kv.size() == m.config.layers.size() && n_logits <= m.max_logits);
  const Activations a = m.activations->of(step.n_tokens, n_logits);

  b.embed(m.weights->embedding, step.token_ids, m.config.embed_scale, a.x);
  for (size_t i = 0; i < kv.size(); ++i) {
    const StepView& view = kv[i].windowed ? windowed : step;
    decoder_layer(m.config.layers[i], m.weights->layers[i], kv[i], view, a);
  }
  if (n_logits == 0) return;

  b.gather_rows(a.x, logit_rows, a.last);
  const Linear output[] = {{.x = a.last, .weight = m.weights->output, .out = logits}};
  b.norm_linears({.x = in_order(a.last, m.weights->output_norm_order, a),
                  .weight = m.weights->output_norm,
                  .out = a.last,
                  .eps = m.config.norm_eps},
                 output);
}

}  // namespace lm
