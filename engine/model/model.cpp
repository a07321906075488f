#include "engine/model/model.h"

#include <algorithm>
#include <utility>

#include "engine/core/check.h"
#include "engine/model/activation_memory.h"
#include "engine/model/decoder.h"
#include "engine/model/weights.h"

namespace lm {
struct Model::Impl {
  gguf::File file;  // keeps the mapping that weights may be read from
  std::vector<ModelRoom> rooms;
  Placement placement;
  ModelConfig config;
  std::unique_ptr<ModelWeights> weights;

  int max_tokens = 0, max_seqs = 0, max_logits = 0;
  // Of each room.
  std::vector<ActivationMemory> activations{};
  std::vector<RoomWork> work{};      // of the step that runs
  std::vector<std::byte> staging{};  // what is carried from room to room

  size_t staging_bytes() const;
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
  const ModelRoom room{&backend};
  return load(file, std::span(&room, 1), options);
}

Result<Model> Model::load(const gguf::File& file, std::span<const ModelRoom> rooms,
                          const LoadOptions& options) {
  ModelConfig config = LM_TRY(read_config(file));
  const int n_ctx = options.n_ctx > 0 ? options.n_ctx : config.n_ctx_train;
  const bool placed = options.placement.n_layers() > 0;
  Placement placement = placed ? options.placement : Placement(config.layers.size());
  std::unique_ptr<ModelWeights> weights =
      LM_TRY(load_weights(file, config, rooms, placement, n_ctx, options.progress));
  return Model(std::unique_ptr<Impl>(new Impl{file,
                                              {rooms.begin(), rooms.end()},
                                              std::move(placement),
                                              std::move(config),
                                              std::move(weights)}));
}

// Of the largest tensor that is carried: x, or the choice of experts.
size_t Model::Impl::staging_bytes() const {
  if (rooms.size() == 1) return 0;
  int most = config.d_model;
  for (const LayerSpec& layer : config.layers) most = std::max(most, layer.ffn.moe.top_k);
  return size_t(std::max(max_tokens, max_logits)) * size_t(most) * sizeof(float);
}

Status Model::reserve(int max_tokens, int max_seqs, int max_logits) {
  LM_CHECK(max_tokens > 0 && max_seqs > 0 && max_logits >= 0);
  Impl& m = *impl_;
  m.activations.clear();
  for (size_t i = 0; i < m.rooms.size(); ++i) {
    m.activations.push_back(LM_TRY(ActivationMemory::allocate(
        *m.rooms[i].backend, m.config, m.weights->has_orders, m.placement, int(i),
        {.max_tokens = max_tokens, .max_seqs = max_seqs, .max_logits = max_logits})));
  }
  m.max_tokens = max_tokens;
  m.max_seqs = max_seqs;
  m.max_logits = max_logits;
  m.work.resize(m.rooms.size());
  m.staging.resize(m.staging_bytes());
  return ok();
}

void Model::forward(std::span<const RoomStep> step, std::span<const KvLayer> kv, Tensor logits) {
  Impl& m = *impl_;
  const StepView& view = step.front().all;
  const int64_t n_logits = logits ? logits.rows() : 0;
  LM_CHECK(view.n_tokens > 0 && view.n_tokens <= m.max_tokens && view.n_seqs <= m.max_seqs);
  LM_CHECK(kv.size() == m.config.layers.size() && n_logits <= m.max_logits);
  LM_CHECK(step.size() == m.rooms.size());
  for (size_t i = 0; i < step.size(); ++i) {
    m.work[i] = {step[i], m.activations[i].of(view.n_tokens, n_logits)};
  }
  Passage passage(m.work, m.staging);

  const RoomWork& first = passage.begin(m.weights->embedding);
  first.a.x.room().embed(m.weights->embedding, first.step.all.token_ids, m.config.embed_scale,
                         first.a.x);
  for (size_t i = 0; i < kv.size(); ++i) {
    decoder_layer(m.config.layers[i], m.weights->layers[i], kv[i], passage);
  }
  if (n_logits == 0) return;

  const RoomWork& end = passage.here();
  end.a.x.room().gather_rows(end.a.x, end.step.logit_rows, end.a.last);
  const Activations& a = passage.at(m.weights->output_norm).a;
  passage.carry(end.a.last, a.last);
  const Linear output[] = {{.x = a.last, .weight = m.weights->output, .out = logits}};
  a.last.room().norm_linears({.x = in_order(a.last, m.weights->output_norm_order, a),
                              .weight = m.weights->output_norm,
                              .out = a.last,
                              .eps = m.config.norm_eps},
                             output);
}

}  // namespace lm
