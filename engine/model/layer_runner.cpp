#include "engine/model/layer_runner.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "engine/core/check.h"
#include "engine/core/text.h"
#include "engine/model/activation_memory.h"
#include "engine/model/decoder.h"
#include "engine/model/model.h"
#include "engine/model/weights.h"

namespace lm {
namespace {

constexpr int kBlockSize = 32;  // of the KV cache

}  // namespace

struct LayerRunner::Impl {
  gguf::File file;
  Backend* backend;
  ModelConfig config;
  int max_tokens;
  std::unique_ptr<ModelWeights> embedding{}, weights{};
  int layer = -1;
  std::optional<ActivationMemory> activations{};
  std::vector<std::unique_ptr<Buffer>> memory{};
  // Of a step of max_tokens: one sequence in blocks that lie one after the other.
  Tensor token_ids{}, positions{}, q_start{}, kv_len{}, block_table{};
  KvLayer kv{};  // of as many numbers as the widest layer needs

  int n_blocks() const { return (max_tokens + kBlockSize - 1) / kBlockSize; }
  Result<Tensor> tensor(DType dtype, int64_t rows, int64_t cols);
  Status allocate_step();
  void upload(Tensor to, std::span<const int32_t> values) {
    backend->upload(to, std::as_bytes(values));
  }
  StepView step(int n_tokens);
};

Result<Tensor> LayerRunner::Impl::tensor(DType dtype, int64_t rows, int64_t cols) {
  Tensor t{
      .dtype = dtype, .shape = {1, 1, rows, cols}, .row_bytes = int64_t(row_bytes(dtype, cols))};
  memory.push_back(LM_TRY(backend->alloc(size_t(rows * t.row_bytes))));
  t.buffer = memory.back().get();
  return t;
}

Status LayerRunner::Impl::allocate_step() {
  token_ids = LM_TRY(tensor(DType::i32, 1, max_tokens));
  positions = LM_TRY(tensor(DType::i32, 1, max_tokens));
  q_start = LM_TRY(tensor(DType::i32, 1, 2));
  kv_len = LM_TRY(tensor(DType::i32, 1, 1));
  block_table = LM_TRY(tensor(DType::i32, 1, n_blocks()));
  int64_t kv_width = 0;
  for (const LayerSpec& spec : config.layers)
    kv_width = std::max(kv_width, int64_t(spec.attn.n_kv_heads) * spec.attn.head_dim);
  kv.k = LM_TRY(tensor(DType::f32, int64_t(n_blocks()) * kBlockSize, kv_width));
  kv.v = LM_TRY(tensor(DType::f32, int64_t(n_blocks()) * kBlockSize, kv_width));
  std::vector<int32_t> counting(size_t(std::max(max_tokens, n_blocks())));
  std::iota(counting.begin(), counting.end(), 0);
  upload(positions, std::span(counting).first(size_t(max_tokens)));
  upload(block_table, std::span(counting).first(size_t(n_blocks())));
  return ok();
}

StepView LayerRunner::Impl::step(int n_tokens) {
  const int32_t starts[] = {0, n_tokens};
  upload(q_start, starts);
  upload(kv_len, std::span(starts).last(1));
  const auto columns = [](Tensor t, int64_t n) {
    t.shape[3] = n;
    t.row_bytes = int64_t(row_bytes(t.dtype, n));
    return t;
  };
  return {.n_tokens = n_tokens,
          .n_seqs = 1,
          .block_size = kBlockSize,
          .token_ids = columns(token_ids, n_tokens),
          .positions = columns(positions, n_tokens),
          .slots = columns(positions, n_tokens),  // block i holds the positions from 32 i on
          .q_start = q_start,
          .kv_len = kv_len,
          .block_table = block_table};
}

LayerRunner::LayerRunner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LayerRunner::LayerRunner(LayerRunner&&) noexcept = default;
LayerRunner& LayerRunner::operator=(LayerRunner&&) noexcept = default;
LayerRunner::~LayerRunner() = default;

const ModelConfig& LayerRunner::config() const {
  return impl_->config;
}

Result<LayerRunner> LayerRunner::open(const gguf::File& file, Backend& backend, int max_tokens) {
  LM_CHECK(max_tokens > 0);
  auto impl = std::unique_ptr<Impl>(new Impl{.file = file,
                                             .backend = &backend,
                                             .config = LM_TRY(read_config(file)),
                                             .max_tokens = max_tokens});
  impl->embedding = LM_TRY(load_embedding(file, impl->config, backend));
  LM_TRY(impl->allocate_step());
  return LayerRunner(std::move(impl));
}

Status LayerRunner::embed(std::span<const TokenId> ids, std::span<float> x) {
  Impl& m = *impl_;
  const int64_t n = int64_t(ids.size()), d_model = m.config.d_model;
  LM_CHECK(n > 0 && n <= m.max_tokens && x.size() == size_t(n * d_model));
  for (const TokenId id : ids) {
    if (id >= 0 && id < m.config.n_vocab) continue;
    return Error{ErrorCode::bad_request,
                 concat("expected a token id below ", m.config.n_vocab, ", found ", id)};
  }
  const Tensor out = LM_TRY(m.tensor(DType::f32, n, d_model));
  const std::unique_ptr<Buffer> buffer = std::move(m.memory.back());
  m.memory.pop_back();
  m.upload(m.token_ids, ids);
  m.backend->embed(m.embedding->embedding, m.step(int(n)).token_ids, m.config.embed_scale, out);
  m.backend->download(std::as_writable_bytes(x), out);
  return m.backend->synchronize();
}

Status LayerRunner::load(int i, const gguf::File& weights) {
  Impl& m = *impl_;
  LM_CHECK(i >= 0 && i < int(m.config.layers.size()));
  m.weights.reset();  // two layers are never in memory
  m.weights = LM_TRY(load_layer(weights, m.file, m.config, i, *m.backend, m.max_tokens));
  m.layer = i;
  m.activations = LM_TRY(ActivationMemory::allocate(
      *m.backend, m.config, m.weights->has_orders, Placement(m.config.layers.size()), 0,
      {.max_tokens = m.max_tokens, .max_seqs = 1, .max_logits = 0}));
  return ok();
}

Status LayerRunner::run(std::span<float> x) {
  Impl& m = *impl_;
  LM_CHECK(m.layer >= 0 && x.size() % size_t(m.config.d_model) == 0);
  const int n = int(x.size() / size_t(m.config.d_model));
  LM_CHECK(n > 0 && n <= m.max_tokens);
  const LayerSpec& spec = m.config.layers[size_t(m.layer)];
  const StepView view = m.step(n);
  const RoomWork work{{view, view, {}}, m.activations->of(n, 0)};
  KvLayer kv = m.kv;
  for (Tensor* cache : {&kv.k, &kv.v}) {
    cache->shape = {m.n_blocks(), spec.attn.n_kv_heads, kBlockSize, spec.attn.head_dim};
    cache->row_bytes = int64_t(row_bytes(DType::f32, spec.attn.head_dim));
  }
  m.backend->upload(work.a.x, std::as_bytes(x));
  Passage passage(std::span(&work, 1), {});
  decoder_layer(spec, m.weights->layers[size_t(m.layer)], kv, passage);
  m.backend->download(std::as_writable_bytes(x), work.a.x);
  return m.backend->synchronize();
}

}  // namespace lm
