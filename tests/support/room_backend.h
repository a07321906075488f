// tests/support/room_backend.h — a backend in a room of its own that computes as another one does:
// what a model in several rooms is tested with where there is no device. It insists on what a
// device would: every tensor of a call lives in this room, and the host sees none of it.
#pragma once
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/forwarding_backend.h"
#include "engine/core/check.h"

namespace lm::test {

class RoomBackend : public ForwardingBackend {
 public:
  RoomBackend(std::string name, std::unique_ptr<Backend> inner)
      : ForwardingBackend(std::move(inner)), name_(std::move(name)) {}

  int n_runs = 0;  // of recordable steps

  std::string_view name() const override { return name_; }
  Result<std::unique_ptr<Buffer>> alloc(size_t bytes) override {
    return std::unique_ptr<Buffer>(
        std::make_unique<RoomBuffer>(*this, LM_TRY(inner().alloc(bytes))));
  }
  Result<LoadedWeight> load_weight(const HostTensor& host, WeightUse use) override {
    LoadedWeight loaded = LM_TRY(inner().load_weight(host, use));
    loaded.buffer = std::make_unique<RoomBuffer>(*this, std::move(loaded.buffer));
    loaded.tensor.buffer = loaded.buffer.get();
    return loaded;
  }
  void upload(Tensor dst, std::span<const std::byte> bytes) override {
    check({dst});
    inner().upload(dst, bytes);
  }
  void download(std::span<std::byte> dst, Tensor src) override {
    check({src});
    inner().download(dst, src);
  }
  std::byte* host_view(Tensor) override { return nullptr; }

  void embed(Tensor table, Tensor ids, float scale, Tensor out) override {
    check({table, ids, out});
    inner().embed(table, ids, scale, out);
  }
  void rms_norm(const RmsNorm& op) override {
    check({op.x, op.weight, op.out});
    inner().rms_norm(op);
  }
  void linear(const Linear& op) override {
    check({op.x, op.weight, op.out, op.bias});
    inner().linear(op);
  }
  void rope(const Rope& op, const StepView& step) override {
    check({op.q, op.k, op.inv_freq, step.positions});
    inner().rope(op, step);
  }
  void kv_write(const KvWrite& op, const StepView& step) override {
    check({op.k, op.v, op.k_cache, op.v_cache, step.slots});
    inner().kv_write(op, step);
  }
  void attention(const Attention& op, const StepView& step) override {
    check({op.q, op.k_cache, op.v_cache, op.out, op.sinks});
    check({step.positions, step.q_start, step.kv_len, step.block_table});
    inner().attention(op, step);
  }
  void glu(const Glu& op) override {
    check({op.gate, op.up, op.out});
    inner().glu(op);
  }
  void moe_route(const MoeRoute& op) override {
    check({op.logits, op.ids, op.weights, op.bias});
    inner().moe_route(op);
  }
  void moe_ffn(const MoeFfn& op) override {
    check({op.x, op.ids, op.weights, op.out, op.gate, op.up, op.down});
    check({op.gate_bias, op.up_bias, op.down_bias});
    inner().moe_ffn(op);
  }
  void add(Tensor a, Tensor b, Tensor out) override {
    check({a, b, out});
    inner().add(a, b, out);
  }
  void gather_rows(Tensor x, Tensor row_ids, Tensor out) override {
    check({x, row_ids, out});
    inner().gather_rows(x, row_ids, out);
  }
  void gather_columns(Tensor x, Tensor columns, Tensor out) override {
    check({x, columns, out});
    inner().gather_columns(x, columns, out);
  }
  void top_candidates(const TopCandidates& op) override {
    check({op.logits, op.ids, op.values, op.totals});
    inner().top_candidates(op);
  }
  void draw_tokens(const DrawTokens& op) override {
    check({op.ids, op.values, op.rules, op.tokens});
    inner().draw_tokens(op);
  }
  void run(StepKey key, Body body, void* self) override {
    ++n_runs;
    inner().run(key, body, self);
  }

 private:
  class RoomBuffer final : public Buffer {
   public:
    RoomBuffer(Backend& room, std::unique_ptr<Buffer> inner)
        : Buffer(room, inner->base(), inner->bytes()), inner_(std::move(inner)) {}

   private:
    std::unique_ptr<Buffer> inner_;
  };

  // Empty tensors are of no room.
  void check(std::initializer_list<Tensor> tensors) const {
    for (const Tensor& tensor : tensors) LM_CHECK(!tensor || &tensor.room() == this);
  }

  std::string name_;
};

}  // namespace lm::test
