// backends/forwarding_backend.h — a Backend that passes every call on to another: the base of those
// that watch or change some of them. The fusions are left as the plain calls that they mean, so
// that whoever overrides a plain call sees all of them, in every step: none is recorded, and none
// runs ahead of what the host has seen.
#pragma once
#include <memory>
#include <string>
#include <utility>

#include "backends/backend.h"

namespace lm {

class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  std::string_view name() const override { return inner_->name(); }
  std::string_view detail() const override { return inner_->detail(); }
  std::string arithmetic() const override { return inner_->arithmetic(); }
  Result<std::unique_ptr<Buffer>> alloc(size_t bytes) override { return inner_->alloc(bytes); }
  Result<LoadedWeight> load_weight(const HostTensor& host, WeightUse use) override {
    return inner_->load_weight(host, use);
  }
  Status reserve(const StepLimits& limits) override { return inner_->reserve(limits); }
  void upload(Tensor dst, std::span<const std::byte> bytes) override { inner_->upload(dst, bytes); }
  Status expect_uploads(size_t bytes) override { return inner_->expect_uploads(bytes); }
  void download(std::span<std::byte> dst, Tensor src) override { inner_->download(dst, src); }
  std::byte* host_view(Tensor t) override { return inner_->host_view(t); }
  Status synchronize() override { return inner_->synchronize(); }

  void embed(Tensor table, Tensor ids, float scale, Tensor out) override {
    inner_->embed(table, ids, scale, out);
  }
  void rms_norm(const RmsNorm& op) override { inner_->rms_norm(op); }
  void linear(const Linear& op) override { inner_->linear(op); }
  void rope(const Rope& op, const StepView& step) override { inner_->rope(op, step); }
  void kv_write(const KvWrite& op, const StepView& step) override { inner_->kv_write(op, step); }
  void attention(const Attention& op, const StepView& step) override {
    inner_->attention(op, step);
  }
  void glu(const Glu& op) override { inner_->glu(op); }
  void moe_route(const MoeRoute& op) override { inner_->moe_route(op); }
  void moe_ffn(const MoeFfn& op) override { inner_->moe_ffn(op); }
  void add(Tensor a, Tensor b, Tensor out) override { inner_->add(a, b, out); }
  void gather_rows(Tensor x, Tensor row_ids, Tensor out) override {
    inner_->gather_rows(x, row_ids, out);
  }
  void gather_columns(Tensor x, Tensor columns, Tensor out) override {
    inner_->gather_columns(x, columns, out);
  }
  void top_candidates(const TopCandidates& op) override { inner_->top_candidates(op); }
  void draw_tokens(const DrawTokens& op) override { inner_->draw_tokens(op); }
  Result<DeviceLimits> measure_limits() override { return inner_->measure_limits(); }

 protected:
  Backend& inner() { return *inner_; }

 private:
  std::unique_ptr<Backend> inner_;
};

}  // namespace lm
