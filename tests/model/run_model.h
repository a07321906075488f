// tests/model/run_model.h — a Model with the least around it: its own KV memory and step buffers.
// Blocks are handed out in a scrambled order, so that nothing can rely on their being in a row.
#pragma once
#include <algorithm>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/observe.h"
#include "engine/core/token.h"
#include "engine/model/model.h"
#include "tests/support/room_backend.h"
#include "tests/support/support.h"

namespace lm::test {

struct RunOptions {
  std::string isa{};  // empty: the best
  int n_threads = 1;
  DType kv_dtype = DType::f32;
  int block_size = 32;
  int max_tokens = 64;  // of one step
  int max_seqs = 1;
  int n_blocks = 40;
  int n_ctx = 0;  // LoadOptions::n_ctx
  bool in_place = false;
  Placement placement{};  // in rooms of their own; none: in one room
  ActivationObserver* observer = nullptr;
};

// One sequence's next tokens in a step.
struct Chunk {
  std::vector<TokenId> tokens;
  int first_position = 0;
  std::vector<int32_t> blocks;
};

class ModelRunner {
 public:
  ModelRunner(const gguf::File& file, const RunOptions& options) : options_(options) {
    registry_.add(cpu::registry_entry());
    for (int room = 0; room == 0 || options.placement.uses(room); ++room) {
      std::unique_ptr<Backend> backend =
          require_ok(registry_.open("cpu", {.n_threads = options.n_threads, .isa = options.isa}));
      if (options.observer != nullptr) {
        backend = observe(std::move(backend), *options.observer);
      } else {
        backend = std::make_unique<RoomBackend>("room " + std::to_string(room), std::move(backend));
      }
      backends_.push_back(std::move(backend));
      rooms_.push_back({backends_.back().get(), options.in_place});
    }
    model_ = std::make_unique<Model>(require_ok(Model::load(
        file, rooms_, {.n_ctx = options.n_ctx, .placement = options.placement, .progress = {}})));
    require_ok(model_->reserve(options.max_tokens, options.max_seqs, options.max_tokens));
    allocate();
  }

  const Model& model() const { return *model_; }
  int n_vocab() const { return model_->config().n_vocab; }

  // Block ids for a sequence of n_tokens; the same order every time.
  std::vector<int32_t> take_blocks(int n_tokens) {
    const int n = (n_tokens + options_.block_size - 1) / options_.block_size;
    std::vector<int32_t> blocks;
    for (int i = 0; i < n; ++i) {
      REQUIRE(!free_.empty());
      blocks.push_back(free_.back());
      free_.pop_back();
    }
    return blocks;
  }

  // Logits after every token of the step: [sum of tokens, n_vocab].
  std::vector<float> step(std::span<const Chunk> chunks) {
    std::vector<int32_t> ids, positions, slots, q_start{0}, kv_len, rows;
    size_t max_blocks = 1;
    for (const Chunk& c : chunks) max_blocks = std::max(max_blocks, c.blocks.size());
    std::vector<int32_t> table;
    for (const Chunk& c : chunks) {
      for (size_t i = 0; i < c.tokens.size(); ++i) {
        const int p = c.first_position + int(i);
        ids.push_back(c.tokens[i]);
        positions.push_back(p);
        slots.push_back(c.blocks[size_t(p / options_.block_size)] * options_.block_size +
                        p % options_.block_size);
      }
      q_start.push_back(int32_t(ids.size()));
      kv_len.push_back(c.first_position + int32_t(c.tokens.size()));
      for (size_t i = 0; i < max_blocks; ++i) {
        table.push_back(i < c.blocks.size() ? c.blocks[i] : -1);
      }
    }
    rows.resize(ids.size());
    std::iota(rows.begin(), rows.end(), 0);

    const int n = int(ids.size()), n_seqs = int(chunks.size());
    uploads_.clear();
    std::vector<RoomStep> steps;
    for (const ModelRoom& room : rooms_) {
      StepView view;
      view.n_tokens = n;
      view.n_seqs = n_seqs;
      view.block_size = options_.block_size;
      view.token_ids = upload(room, ids, 1, n);
      view.positions = upload(room, positions, 1, n);
      view.slots = upload(room, slots, 1, n);
      view.q_start = upload(room, q_start, 1, n_seqs + 1);
      view.kv_len = upload(room, kv_len, 1, n_seqs);
      view.block_table = upload(room, table, n_seqs, int64_t(max_blocks));
      steps.push_back({view, view, upload(room, rows, 1, n)});
    }
    Backend& last = *rooms_[size_t(placement_.output())].backend;
    const Tensor logits = tensor(last, DType::f32, {1, 1, n, n_vocab()}, uploads_);
    model_->forward(steps, kv_, logits);
    std::vector<float> out(size_t(n) * size_t(n_vocab()));
    last.download(std::as_writable_bytes(std::span(out)), logits);
    return out;
  }

  // A fresh sequence, fed in chunks of at most max_tokens; logits after every token.
  std::vector<float> run(std::span<const TokenId> tokens) {
    const std::vector<int32_t> blocks = take_blocks(int(tokens.size()));
    std::vector<float> all;
    for (size_t first = 0; first < tokens.size(); first += size_t(options_.max_tokens)) {
      const size_t n = std::min(size_t(options_.max_tokens), tokens.size() - first);
      const Chunk chunk{
          {tokens.begin() + std::ptrdiff_t(first), tokens.begin() + std::ptrdiff_t(first + n)},
          int(first),
          blocks};
      const std::vector<float> part = step(std::span(&chunk, 1));
      all.insert(all.end(), part.begin(), part.end());
    }
    free_.insert(free_.end(), blocks.begin(), blocks.end());
    return all;
  }

 private:
  Tensor tensor(Backend& room, DType dtype, std::array<int64_t, 4> shape,
                std::vector<std::unique_ptr<Buffer>>& owner) {
    Tensor t{.dtype = dtype, .shape = shape, .row_bytes = int64_t(row_bytes(dtype, shape[3]))};
    owner.push_back(require_ok(room.alloc(size_t(t.rows() * t.row_bytes))));
    t.buffer = owner.back().get();
    return t;
  }

  Tensor upload(const ModelRoom& room, const std::vector<int32_t>& values, int64_t rows,
                int64_t cols) {
    const Tensor t = tensor(*room.backend, DType::i32, {1, 1, rows, cols}, uploads_);
    room.backend->upload(t, std::as_bytes(std::span(values)));
    return t;
  }

  void allocate() {
    const std::vector<LayerSpec>& layers = model_->config().layers;
    placement_ = options_.placement.n_layers() > 0 ? options_.placement : Placement(layers.size());
    for (size_t i = 0; i < layers.size(); ++i) {
      const LayerSpec& layer = layers[i];
      Backend& room = *rooms_[size_t(placement_.attention(i))].backend;
      const std::array<int64_t, 4> shape{options_.n_blocks, layer.attn.n_kv_heads,
                                         options_.block_size, layer.attn.head_dim};
      const Tensor k = tensor(room, options_.kv_dtype, shape, memory_);
      kv_.push_back({k, tensor(room, options_.kv_dtype, shape, memory_)});
    }
    free_.resize(size_t(options_.n_blocks));
    std::iota(free_.begin(), free_.end(), 0);
    Random random(7);
    for (size_t i = free_.size(); i > 1; --i) std::swap(free_[i - 1], free_[random.below(i)]);
  }

  RunOptions options_;
  Registry registry_;
  std::vector<std::unique_ptr<Backend>> backends_;
  std::vector<ModelRoom> rooms_;
  Placement placement_;
  std::unique_ptr<Model> model_;
  std::vector<std::unique_ptr<Buffer>> memory_, uploads_;
  std::vector<KvLayer> kv_;
  std::vector<int32_t> free_;
};

inline std::vector<TokenId> random_tokens(int n, int n_vocab, uint64_t seed) {
  Random random(seed);
  std::vector<TokenId> tokens;
  for (int i = 0; i < n; ++i) tokens.push_back(TokenId(random.below(uint64_t(n_vocab))));
  return tokens;
}

}  // namespace lm::test
