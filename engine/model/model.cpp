#include "engine/model/model.h"

#include <algorithm>
#include <utility>

#include "engine/core/check.h"
#include "engine/core/text.h"
#include "engine/model/decoder.h"
#include "engine/model/weights.h"

namespace lm {
namespace {

// The widest layer of a model in every respect.
struct Widths {
  int64_t d_model = 0, q = 0, kv = 0, d_ff = 0, n_experts = 0, top_k = 0, d_ff_expert = 0;
  int n_heads = 0, n_kv_heads = 0, head_dim = 0;

  explicit Widths(const ModelConfig& config) : d_model(config.d_model) {
    for (const LayerSpec& layer : config.layers) {
      const AttnSpec& a = layer.attn;
      const MoeSpec& moe = layer.ffn.moe;
      q = std::max(q, int64_t(a.n_heads) * a.head_dim);
      kv = std::max(kv, int64_t(a.n_kv_heads) * a.head_dim);
      n_heads = std::max(n_heads, a.n_heads);
      n_kv_heads = std::max(n_kv_heads, a.n_kv_heads);
      head_dim = std::max(head_dim, a.head_dim);
      d_ff = std::max(d_ff, int64_t(layer.ffn.d_ff));
      n_experts = std::max(n_experts, int64_t(moe.n_experts));
      top_k = std::max(top_k, int64_t(moe.top_k));
      d_ff_expert = std::max(d_ff_expert, int64_t(moe.d_ff));
    }
  }
};

// Lays tensors out one after the other in a buffer that does not exist yet.
class Layout {
 public:
  void add(Tensor& tensor, int64_t rows, int64_t cols, DType dtype = DType::f32) {
    if (rows == 0 || cols == 0) return;  // the model does without
    constexpr uint64_t kAlignment = 64;
    tensor = {.offset = bytes_,
              .dtype = dtype,
              .shape = {1, 1, rows, cols},
              .row_bytes = int64_t(row_bytes(dtype, cols))};
    bytes_ +=
        (uint64_t(rows) * uint64_t(tensor.row_bytes) + kAlignment - 1) / kAlignment * kAlignment;
    tensors_.push_back(&tensor);
  }
  uint64_t bytes() const { return bytes_; }
  void place(Buffer& buffer) const {
    for (Tensor* tensor : tensors_) tensor->buffer = &buffer;
  }

 private:
  uint64_t bytes_ = 0;
  std::vector<Tensor*> tensors_;
};

Tensor rows_of(Tensor t, int64_t n) {
  return t ? first_rows(t, n) : t;
}

Activations cut(const Activations& a, int64_t n_tokens, int64_t n_logits) {
  return {.x = rows_of(a.x, n_tokens),
          .h = rows_of(a.h, n_tokens),
          .reordered = a.reordered,
          .q = rows_of(a.q, n_tokens),
          .attn = rows_of(a.attn, n_tokens),
          .k = rows_of(a.k, n_tokens),
          .v = rows_of(a.v, n_tokens),
          .gate = rows_of(a.gate, n_tokens),
          .up = rows_of(a.up, n_tokens),
          .router = rows_of(a.router, n_tokens),
          .expert_ids = rows_of(a.expert_ids, n_tokens),
          .expert_weights = rows_of(a.expert_weights, n_tokens),
          .last = rows_of(a.last, n_logits)};
}

}  // namespace

struct Model::Impl {
  gguf::File file;  // keeps the mapping that weights may be read from
  Backend* backend;
  ModelConfig config;
  std::unique_ptr<ModelWeights> weights;

  int max_tokens = 0, max_seqs = 0, max_logits = 0;
  std::unique_ptr<Buffer> memory{};
  Activations activations{};
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
  const Widths widths(m.config);
  LM_TRY(m.backend->reserve({.max_tokens = max_tokens,
                             .max_seqs = max_seqs,
                             .max_linear_in = m.weights->max_linear_in,
                             .max_linear_out = m.weights->max_linear_out,
                             .n_heads = widths.n_heads,
                             .n_kv_heads = widths.n_kv_heads,
                             .head_dim = widths.head_dim,
                             .n_experts = int(widths.n_experts),
                             .top_k = int(widths.top_k),
                             .d_ff_expert = widths.d_ff_expert}));
  Activations a;
  Layout layout;
  layout.add(a.x, max_tokens, widths.d_model);
  layout.add(a.h, max_tokens, widths.d_model);
  if (m.weights->has_orders)
    layout.add(a.reordered, std::max(max_tokens, max_logits), std::max(widths.d_model, widths.q));
  layout.add(a.q, max_tokens, widths.q);
  layout.add(a.attn, max_tokens, widths.q);
  layout.add(a.k, max_tokens, widths.kv);
  layout.add(a.v, max_tokens, widths.kv);
  layout.add(a.gate, max_tokens, widths.d_ff);
  layout.add(a.up, max_tokens, widths.d_ff);
  layout.add(a.router, max_tokens, widths.n_experts);
  layout.add(a.expert_ids, max_tokens, widths.top_k, DType::i32);
  layout.add(a.expert_weights, max_tokens, widths.top_k);
  layout.add(a.last, max_logits, widths.d_model);
  m.memory = LM_TRY(m.backend->alloc(layout.bytes()));
  layout.place(*m.memory);
  m.activations = a;
  m.max_tokens = max_tokens;
  m.max_seqs = max_seqs;
  m.max_logits = max_logits;
  return ok();
}

void Model::forward(const StepView& step, std::span<const KvLayer> kv, Tensor logit_rows,
                    Tensor logits) {
  const Impl& m = *impl_;
  Backend& b = *m.backend;
  const int64_t n_logits = logits ? logits.rows() : 0;
  LM_CHECK(step.n_tokens > 0 && step.n_tokens <= m.max_tokens && step.n_seqs <= m.max_seqs);
  LM_CHECK(kv.size() == m.config.layers.size() && n_logits <= m.max_logits);
  const Activations a = cut(m.activations, step.n_tokens, n_logits);

  b.embed(m.weights->embedding, step.token_ids, m.config.embed_scale, a.x);
  for (size_t i = 0; i < kv.size(); ++i)
    decoder_layer(m.config.layers[i], m.weights->layers[i], kv[i], step, a);
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
