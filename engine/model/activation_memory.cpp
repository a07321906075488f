#include "engine/model/activation_memory.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace lm {
namespace {

// The widest layer of a model in every respect, of those whose work of that kind is in a room.
struct Widths {
  int64_t d_model = 0, q = 0, kv = 0, d_ff = 0, n_experts = 0, top_k = 0, d_ff_expert = 0;
  int n_heads = 0, n_kv_heads = 0, head_dim = 0;
  int64_t max_in = 0, max_out = 0;  // of the matrices, without the output's

  Widths(const ModelConfig& config, const Placement& placement, int room)
      : d_model(config.d_model) {
    for (size_t i = 0; i < config.layers.size(); ++i) {
      const LayerSpec& layer = config.layers[i];
      if (placement.attention(i) == room) add(layer.attn);
      const MoeSpec& moe = layer.ffn.moe;
      if (placement.ffn(i) == room) {
        d_ff = std::max(d_ff, int64_t(layer.ffn.d_ff));
        add_matrix(moe.n_experts, d_model);
        if (moe.n_experts == 0) add_both_ways(layer.ffn.d_ff);
      }
      if (placement.experts(i) == room && moe.n_experts > 0) {
        d_ff_expert = std::max(d_ff_expert, int64_t(moe.d_ff));
        add_both_ways(moe.d_ff);
      }
      if (placement.ffn(i) != room && placement.experts(i) != room) continue;
      n_experts = std::max(n_experts, int64_t(moe.n_experts));
      top_k = std::max(top_k, int64_t(moe.top_k));
    }
  }

 private:
  void add_matrix(int64_t rows, int64_t cols) {
    max_in = std::max(max_in, cols);
    max_out = std::max(max_out, rows);
  }
  void add_both_ways(int64_t width) {
    add_matrix(width, d_model);
    add_matrix(d_model, width);
  }
  void add(const AttnSpec& a) {
    q = std::max(q, int64_t(a.n_heads) * a.head_dim);
    kv = std::max(kv, int64_t(a.n_kv_heads) * a.head_dim);
    n_heads = std::max(n_heads, a.n_heads);
    n_kv_heads = std::max(n_kv_heads, a.n_kv_heads);
    head_dim = std::max(head_dim, a.head_dim);
    add_both_ways(q);
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

Layout lay_out(Activations& a, const Widths& widths, bool has_orders,
               const ActivationMemory::Size& size) {
  const int max_tokens = size.max_tokens, max_logits = size.max_logits;
  Layout layout;
  layout.add(a.x, max_tokens, widths.d_model);
  layout.add(a.h, max_tokens, widths.d_model);
  if (has_orders)
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
  return layout;
}

Tensor rows_of(Tensor t, int64_t n) {
  return t ? first_rows(t, n) : t;
}

}  // namespace

uint64_t ActivationMemory::bytes(const ModelConfig& config, bool has_orders,
                                 const Placement& placement, int room, const Size& size) {
  Activations a;
  return lay_out(a, Widths(config, placement, room), has_orders, size).bytes();
}

StepLimits ActivationMemory::limits(const ModelConfig& config, const Placement& placement, int room,
                                    const Size& size) {
  const Widths widths(config, placement, room);
  const bool output = placement.output() == room && size.max_logits > 0;
  return {
      .max_tokens = size.max_tokens,
      .max_seqs = size.max_seqs,
      .max_linear_in = output ? std::max(widths.max_in, widths.d_model) : widths.max_in,
      .max_linear_out = output ? std::max(widths.max_out, int64_t(config.n_vocab)) : widths.max_out,
      .n_heads = widths.n_heads,
      .n_kv_heads = widths.n_kv_heads,
      .head_dim = widths.head_dim,
      .n_experts = int(widths.n_experts),
      .top_k = int(widths.top_k),
      .d_ff_expert = widths.d_ff_expert};
}

Result<ActivationMemory> ActivationMemory::allocate(Backend& backend, const ModelConfig& config,
                                                    bool has_orders, const Placement& placement,
                                                    int room, const Size& size) {
  LM_TRY(backend.reserve(limits(config, placement, room, size)));
  Activations a;
  const Layout layout = lay_out(a, Widths(config, placement, room), has_orders, size);
  std::unique_ptr<Buffer> memory = LM_TRY(backend.alloc(layout.bytes()));
  layout.place(*memory);
  return ActivationMemory(std::move(memory), a);
}

Activations ActivationMemory::of(int64_t n_tokens, int64_t n_logits) const {
  const Activations& a = all_;
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

}  // namespace lm
