// The CPU backend: owns the thread pool, the workspace and the chosen kernels, and hands each call
// to the operation's file. Everything is done when a call returns.
#include "backends/cpu/cpu_backend.h"

#include <cstring>
#include <string>
#include <utility>

#include "backends/cpu/isa_select.h"
#include "backends/cpu/limits.h"
#include "backends/cpu/memory.h"
#include "backends/cpu/ops.h"
#include "backends/cpu/repack.h"
#include "engine/core/check.h"
#include "engine/core/checked.h"
#include "engine/core/machine.h"
#include "engine/core/text.h"
#include "quant/decode.h"

namespace lm::cpu {
namespace {

// See Backend::arithmetic: to be raised by whoever changes a bit of any kernel's results.
constexpr int kArithmetic = 2;

class CpuBackend final : public Backend {
 public:
  CpuBackend(const Kernels& kernels, std::shared_ptr<ThreadPool> threads, int n_threads)
      : kernels_(kernels),
        threads_(std::move(threads)),
        pool_(*threads_),
        detail_(concat(kernels.name, ", ", n_threads, n_threads == 1 ? " thread" : " threads")) {}

  std::string_view name() const override { return "cpu"; }
  std::string_view detail() const override { return detail_; }
  std::string arithmetic() const override { return concat(kernels_.name, " ", kArithmetic); }
  Result<std::unique_ptr<Buffer>> alloc(size_t bytes) override {
    return allocate_buffer(*this, bytes);
  }
  Result<LoadedWeight> load_weight(const HostTensor& host, WeightUse use) override;
  Status reserve(const StepLimits& limits) override {
    workspace_ = LM_TRY(Workspace::allocate(limits, pool_.size(), kernels_.lanes));
    return ok();
  }
  void upload(Tensor dst, std::span<const std::byte> bytes) override {
    LM_CHECK(dst.layout == 0 && dst.offset + bytes.size() <= dst.buffer->bytes());
    if (!bytes.empty()) std::memcpy(dst.data(), bytes.data(), bytes.size());
  }
  void download(std::span<std::byte> dst, Tensor src) override {
    LM_CHECK(src.layout == 0 && src.offset + dst.size() <= src.buffer->bytes());
    if (!dst.empty()) std::memcpy(dst.data(), src.data(), dst.size());
  }
  std::byte* host_view(Tensor t) override { return t.data(); }
  Status synchronize() override { return ok(); }

  void embed(Tensor table, Tensor ids, float scale, Tensor out) override {
    cpu::embed(context(), table, ids, scale, out);
  }
  void rms_norm(const RmsNorm& op) override { cpu::rms_norm(context(), op); }
  void linear(const Linear& op) override { linears(context(), {&op, 1}); }
  void rope(const Rope& op, const StepView& step) override { cpu::rope(context(), op, step); }
  void kv_write(const KvWrite& op, const StepView& step) override {
    cpu::kv_write(context(), op, step);
  }
  void attention(const Attention& op, const StepView& step) override {
    cpu::attention(context(), op, step);
  }
  void glu(const Glu& op) override { cpu::glu(context(), op); }
  void moe_route(const MoeRoute& op) override { cpu::moe_route(context(), op); }
  void moe_ffn(const MoeFfn& op) override { cpu::moe_ffn(context(), op); }
  void add(Tensor a, Tensor b, Tensor out) override { cpu::add(context(), a, b, out); }
  void gather_rows(Tensor x, Tensor row_ids, Tensor out) override {
    cpu::gather_rows(context(), x, row_ids, out);
  }
  void gather_columns(Tensor x, Tensor columns, Tensor out) override {
    cpu::gather_columns(context(), x, columns, out);
  }
  void top_candidates(const TopCandidates& op) override { cpu::top_candidates(context(), op); }
  void draw_tokens(const DrawTokens& op) override { cpu::draw_tokens(context(), op); }
  void norm_linears(const RmsNorm& norm, std::span<const Linear> ops) override {
    cpu::rms_norm(context(), norm);
    linears(context(), ops);
  }
  void norm_glu(const RmsNorm& norm, const Linear& gate, const Linear& up, const Glu& op) override {
    cpu::rms_norm(context(), norm);
    const std::array<Linear, 2> both = {gate, up};
    linears(context(), both);
    cpu::glu(context(), op);
  }

  Result<DeviceLimits> measure_limits() override { return cpu::measure_limits(kernels_, pool_); }

 private:
  Context context() { return {kernels_, pool_, workspace_}; }

  const Kernels& kernels_;
  std::shared_ptr<ThreadPool> threads_;  // other backends may share them
  ThreadPool& pool_;
  std::string detail_;
  SharedPages weights_;
  Workspace workspace_;
};

Result<LoadedWeight> CpuBackend::load_weight(const HostTensor& host, WeightUse use) {
  const uint64_t bytes = LM_TRY(checked_bytes(host));
  const int64_t cols = host.shape[3],
                n_rows = cols == 0 ? 0 : host.shape[0] * host.shape[1] * host.shape[2];
  LoadedWeight loaded;
  Tensor& tensor = loaded.tensor;
  tensor.dtype = host.dtype;
  tensor.shape = host.shape;
  tensor.row_bytes = int64_t(row_bytes(host.dtype, cols));
  if (use == WeightUse::vector) {
    const std::optional<uint64_t> size = checked_mul(uint64_t(n_rows) * uint64_t(cols), 4);
    if (!size) return Error{ErrorCode::out_of_memory, "a vector of more than 2^62 numbers"};
    loaded.buffer = LM_TRY(weights_.take(*this, *size));
    decode(host.dtype, host.bytes.data(), reinterpret_cast<float*>(loaded.buffer->base()),
           n_rows * cols);
    tensor.dtype = DType::f32;
    tensor.row_bytes = cols * 4;
  } else if (use == WeightUse::matrix && native_format(host.dtype) && kernels_.lanes > 1 &&
             bytes > 0) {
    const int64_t n_matrices = host.shape[0] * host.shape[1], m = host.shape[2];
    const size_t size = panels_bytes(host.dtype, m, cols, kernels_.lanes);
    const std::optional<uint64_t> total = checked_mul(size, uint64_t(n_matrices));
    if (!total) return Error{ErrorCode::out_of_memory, "a matrix of more than 2^64 bytes"};
    loaded.buffer = LM_TRY(weights_.take(*this, *total));
    repack(host.dtype, host.bytes.data(), n_matrices, m, cols, kernels_.lanes, pool_,
           loaded.buffer->base());
    tensor.layout = kLayoutPanels;
    tensor.row_bytes = 0;
  } else {
    loaded.buffer = borrow_buffer(*this, host.bytes);
  }
  tensor.buffer = loaded.buffer.get();
  return loaded;
}

DeviceInfo describe(std::string_view name) {
  std::string description = "processor";
  for (const std::string_view isa : usable_isas()) description = concat("processor with ", isa);
  return {.name = std::string(name),
          .description = description,
          .memory_bytes = available_memory(),
          .unavailable = ""};
}

Result<std::unique_ptr<Backend>> open(std::string_view, const BackendOptions& options) {
  constexpr int kMostThreads = 1024;
  if (options.n_threads < 0 || options.n_threads > kMostThreads) {
    return Error{ErrorCode::bad_request,
                 concat("expected 1 to ", kMostThreads, " threads (0: every core), found ",
                        options.n_threads)};
  }
  const Kernels* kernels = LM_TRY(select_kernels(options.isa));
  const int n_threads = options.threads         ? options.threads->size()
                        : options.n_threads > 0 ? options.n_threads
                                                : usable_cores();
  std::shared_ptr<ThreadPool> threads =
      options.threads ? options.threads : std::make_shared<ThreadPool>(n_threads);
  return std::unique_ptr<Backend>(
      std::make_unique<CpuBackend>(*kernels, std::move(threads), n_threads));
}

}  // namespace

BackendEntry registry_entry() {
  return {.kind = "cpu",
          .names = [] { return std::vector<std::string>{"cpu"}; },
          .describe = describe,
          .open = open};
}

}  // namespace lm::cpu
