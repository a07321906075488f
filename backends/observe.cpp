#include "backends/observe.h"

#include <string>
#include <utility>
#include <vector>

#include "backends/forwarding_backend.h"
#include "engine/core/check.h"

namespace lm {
namespace {

// Every buffer that this backend gives out is one of these, so that operations come here: they go
// to the room of their tensors.
class ObservedBuffer final : public Buffer {
 public:
  ObservedBuffer(Backend& self, std::unique_ptr<Buffer> inner)
      : Buffer(self, inner->base(), inner->bytes()), inner_(std::move(inner)) {}

  std::string name;
  bool wanted = false;
  std::vector<LoadedWeight> experts;  // from the second on; this buffer holds the first

 private:
  std::unique_ptr<Buffer> inner_;
};

const ObservedBuffer& observed(const Tensor& weight) {
  return static_cast<const ObservedBuffer&>(*weight.buffer);
}

class ObservingBackend final : public ForwardingBackend {
 public:
  ObservingBackend(std::unique_ptr<Backend> inner, ActivationObserver& observer)
      : ForwardingBackend(std::move(inner)), observer_(observer) {}

  Result<std::unique_ptr<Buffer>> alloc(size_t bytes) override;
  Result<LoadedWeight> load_weight(const HostTensor& host, WeightUse use) override;
  Status reserve(const StepLimits& limits) override;
  void linear(const Linear& op) override;
  void moe_ffn(const MoeFfn& op) override;

 private:
  Result<Tensor> scratch(int64_t rows, int64_t cols, DType dtype);
  void show(const Tensor& weight, const Tensor& x, int expert, int n_experts);
  void run_expert(const MoeFfn& op, int expert, std::span<const int32_t> rows,
                  std::span<const float> shares);

  ActivationObserver& observer_;
  std::vector<float> rows_;  // what is shown
  // Of one expert: its rows' numbers, its input, hidden rows and output; out of all, on the host.
  std::vector<std::unique_ptr<Buffer>> scratch_;
  Tensor row_ids_, x_, gate_, up_, y_;
  std::vector<float> out_, part_;
};

Result<std::unique_ptr<Buffer>> ObservingBackend::alloc(size_t bytes) {
  return std::unique_ptr<Buffer>(
      std::make_unique<ObservedBuffer>(*this, LM_TRY(inner().alloc(bytes))));
}

Result<LoadedWeight> ObservingBackend::load_weight(const HostTensor& host, WeightUse use) {
  const int64_t n_experts = host.shape[1];
  const bool experts = use != WeightUse::vector && n_experts > 1;
  HostTensor part = host;
  if (experts) {
    part.shape[1] = 1;
    part.bytes = host.bytes.first(host.bytes.size() / size_t(n_experts));
  }
  LoadedWeight loaded = LM_TRY(inner().load_weight(part, use));
  auto buffer = std::make_unique<ObservedBuffer>(*this, std::move(loaded.buffer));
  buffer->name = std::string(host.name);
  buffer->wanted = use != WeightUse::vector && observer_.wants(host.name);
  for (int64_t e = 1; experts && e < n_experts; ++e) {
    part.bytes = host.bytes.subspan(size_t(e) * part.bytes.size(), part.bytes.size());
    buffer->experts.push_back(LM_TRY(inner().load_weight(part, use)));
  }
  loaded.tensor.buffer = buffer.get();
  loaded.tensor.shape = host.shape;
  loaded.buffer = std::move(buffer);
  return loaded;
}

Result<Tensor> ObservingBackend::scratch(int64_t rows, int64_t cols, DType dtype) {
  Tensor t{
      .dtype = dtype, .shape = {1, 1, rows, cols}, .row_bytes = int64_t(row_bytes(dtype, cols))};
  scratch_.push_back(LM_TRY(inner().alloc(size_t(rows * t.row_bytes))));
  t.buffer = scratch_.back().get();
  return t;
}

Status ObservingBackend::reserve(const StepLimits& limits) {
  LM_TRY(inner().reserve(limits));
  scratch_.clear();
  if (limits.n_experts == 0) return ok();
  row_ids_ = LM_TRY(scratch(1, limits.max_tokens, DType::i32));
  x_ = LM_TRY(scratch(limits.max_tokens, limits.max_linear_in, DType::f32));
  gate_ = LM_TRY(scratch(limits.max_tokens, limits.d_ff_expert, DType::f32));
  up_ = LM_TRY(scratch(limits.max_tokens, limits.d_ff_expert, DType::f32));
  y_ = LM_TRY(scratch(limits.max_tokens, limits.max_linear_out, DType::f32));
  return ok();
}

void ObservingBackend::show(const Tensor& weight, const Tensor& x, int expert, int n_experts) {
  const ObservedBuffer& buffer = observed(weight);
  if (!buffer.wanted) return;
  const int64_t n = x.rows(), k = x.cols();
  rows_.resize(size_t(n * k));
  const std::span<float> rows(rows_);
  if (x.row_bytes == k * int64_t(sizeof(float))) {
    inner().download(std::as_writable_bytes(rows), x);
  } else {
    for (int64_t r = 0; r < n; ++r)
      inner().download(std::as_writable_bytes(rows.subspan(size_t(r * k), size_t(k))),
                       row_range(x, r, 1));
  }
  observer_.observe({.tensor = buffer.name,
                     .expert = expert,
                     .n_experts = n_experts,
                     .rows = rows,
                     .n = n,
                     .k = k});
}

void ObservingBackend::linear(const Linear& op) {
  show(op.weight, op.x, 0, 1);
  inner().linear(op);
}

// The matrix of one expert, whose rows are all that it multiplies.
Tensor expert_matrix(const Tensor& weight, int expert) {
  Tensor t = weight;
  if (expert > 0) t = observed(weight).experts[size_t(expert - 1)].tensor;
  t.shape = {1, 1, weight.shape[2], weight.shape[3]};
  return t;
}

Tensor expert_bias(const Tensor& bias, int expert) {
  return bias ? row_range(bias, expert, 1) : bias;
}

// The first rows · cols numbers of `t`.
Tensor cut(Tensor t, int64_t rows, int64_t cols) {
  t.shape = {1, 1, rows, cols};
  t.row_bytes = int64_t(row_bytes(t.dtype, cols));
  return t;
}

// out_ += share · down(act(gate x) * up x), for the rows that chose this expert.
void ObservingBackend::run_expert(const MoeFfn& op, int expert, std::span<const int32_t> rows,
                                  std::span<const float> shares) {
  const int64_t n = int64_t(rows.size()), d_model = op.x.cols(), d_ff = op.gate.shape[2];
  const int n_experts = int(op.gate.shape[1]);
  const Tensor ids = cut(row_ids_, 1, n), x = cut(x_, n, d_model), gate = cut(gate_, n, d_ff),
               up = cut(up_, n, d_ff), y = cut(y_, n, d_model);
  inner().upload(ids, std::as_bytes(rows));
  inner().gather_rows(op.x, ids, x);
  show(op.gate, x, expert, n_experts);
  show(op.up, x, expert, n_experts);
  inner().linear({.x = x,
                  .weight = expert_matrix(op.gate, expert),
                  .out = gate,
                  .bias = expert_bias(op.gate_bias, expert)});
  inner().linear({.x = x,
                  .weight = expert_matrix(op.up, expert),
                  .out = up,
                  .bias = expert_bias(op.up_bias, expert)});
  inner().glu({.gate = gate, .up = up, .out = gate, .act = op.act, .limit = op.limit});
  show(op.down, gate, expert, n_experts);
  inner().linear({.x = gate,
                  .weight = expert_matrix(op.down, expert),
                  .out = y,
                  .bias = expert_bias(op.down_bias, expert)});
  part_.resize(size_t(n * d_model));
  inner().download(std::as_writable_bytes(std::span(part_)), y);
  for (int64_t i = 0; i < n; ++i) {
    float* out = out_.data() + rows[size_t(i)] * d_model;
    for (int64_t j = 0; j < d_model; ++j)
      out[j] += shares[size_t(i)] * part_[size_t(i * d_model + j)];
  }
}

void ObservingBackend::moe_ffn(const MoeFfn& op) {
  const int64_t n = op.x.rows(), top_k = op.ids.cols();
  std::vector<int32_t> ids(size_t(n * top_k));
  std::vector<float> weights(size_t(n * top_k));
  inner().download(std::as_writable_bytes(std::span(ids)), op.ids);
  inner().download(std::as_writable_bytes(std::span(weights)), op.weights);
  out_.resize(size_t(n * op.out.cols()));
  inner().download(std::as_writable_bytes(std::span(out_)), op.out);
  for (int64_t e = 0; e < op.gate.shape[1]; ++e) {
    std::vector<int32_t> rows;
    std::vector<float> shares;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] != e) continue;
      rows.push_back(int32_t(int64_t(i) / top_k));
      shares.push_back(weights[i]);
    }
    if (!rows.empty()) run_expert(op, int(e), rows, shares);
  }
  inner().upload(op.out, std::as_bytes(std::span(out_)));
}

}  // namespace

std::unique_ptr<Backend> observe(std::unique_ptr<Backend> inner, ActivationObserver& observer) {
  return std::make_unique<ObservingBackend>(std::move(inner), observer);
}

}  // namespace lm
