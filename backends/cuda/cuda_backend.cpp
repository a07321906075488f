// The CUDA backend: owns the stream, the scratch memory and the recorded steps, and hands each call
// to the operation's file. Everything is enqueued on one stream; download, synchronize and landings
// wait.
#include "backends/cuda/cuda_backend.h"

#include <cuda_runtime.h>

#include <array>
#include <cstring>
#include <memory>
#include <utility>

#include "backends/cuda/context.h"
#include "backends/cuda/devices.h"
#include "backends/cuda/error.h"
#include "backends/cuda/landing.h"
#include "backends/cuda/limits.h"
#include "backends/cuda/memory.h"
#include "backends/cuda/ops.h"
#include "backends/cuda/recorded_steps.h"
#include "backends/cuda/staging.h"
#include "backends/cuda/upload_ring.h"
#include "backends/cuda/weights.h"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

// See Backend::arithmetic: to be raised by whoever changes a bit of any kernel's results.
constexpr int kArithmetic = 3;
constexpr size_t kScratchAlignment = 256;
// Of small ones; there are at most four of them between two waits of the host: the inputs of two
// steps, and how their tokens are drawn.
constexpr size_t kUploadBytes = size_t{256} << 10, kUploads = 4;
constexpr size_t kInputs = 2;                         // of a step, where they are larger
constexpr size_t kDownloadBytes = size_t{256} << 10;  // 16 rows of 4096 numbers

// Of each kind of operation, in the order of Scratch.
using ScratchSizes = std::array<size_t, size_t(Scratch::count_)>;
ScratchSizes scratch_sizes(const StepLimits& limits) {
  return {linear_scratch_bytes(limits),    gemm_scratch_bytes(limits),
          attention_scratch_bytes(limits), attention_ticket_bytes(limits),
          moe_scratch_bytes(limits),       sampling_scratch_bytes(limits)};
}

size_t round_up(size_t bytes) {
  return (bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
}

uint64_t scratch_bytes(const StepLimits& limits) {
  uint64_t total = 0;
  for (const size_t bytes : scratch_sizes(limits)) total += round_up(bytes);
  return total;
}

class CudaBackend final : public Backend {
 public:
  CudaBackend(DeviceFacts facts, cudaStream_t stream, bool record_steps)
      : facts_(std::move(facts)), stream_(stream), recorded_(stream, record_steps, first_error_) {}
  ~CudaBackend() override {
    cudaStreamSynchronize(stream_);  // a step that nobody waited for
    cudaStreamDestroy(stream_);
  }

  std::string_view name() const override { return facts_.name; }
  std::string_view detail() const override { return facts_.description; }
  std::string arithmetic() const override {
    return concat("cuda ", facts_.architecture, facts_.wgmma ? " wgmma " : " ", kArithmetic);
  }
  Result<std::unique_ptr<Buffer>> alloc(size_t bytes) override {
    LM_TRY(use_device());
    staging_.release();  // what is no weight comes after them, and may need its memory
    return allocate_buffer(*this, bytes, true);
  }
  Result<LoadedWeight> load_weight(const HostTensor& host, WeightUse use) override {
    LM_TRY(use_device());
    return cuda::load_weight(context(), *this, staging_, host, use);
  }
  Status reserve(const StepLimits& limits) override;
  Status expect_uploads(size_t bytes) override {
    LM_TRY(use_device());
    if (bytes <= kUploadBytes) return ok();
    const Status ready = inputs_.prepare(bytes);
    // Not everybody may lock so much; upload() has another way.
    return !ready.ok() && ready.error().code == ErrorCode::out_of_memory ? ok() : ready;
  }
  void upload(Tensor dst, std::span<const std::byte> bytes) override {
    LM_CHECK(dst.layout == 0 && dst.offset + bytes.size() <= dst.buffer->bytes());
    if (bytes.empty()) return;
    const Context here = context();
    recorded_.cut();
    for (UploadRing* ring : {&uploads_, &inputs_}) {
      if (ring->holds(bytes.size())) return ring->send(here, bytes, dst.data());
    }
    // The runtime has taken the bytes of pageable memory when this returns.
    here.note(
        cudaMemcpyAsync(dst.data(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice, stream_));
  }
  void download(std::span<std::byte> dst, Tensor src) override {
    LM_CHECK(src.layout == 0 && src.offset + dst.size() <= src.buffer->bytes());
    if (dst.empty()) return;
    const Context here = context();
    recorded_.cut();
    const bool small = dst.size() <= downloads_.bytes();
    std::byte* const to = small ? downloads_.base() : dst.data();
    here.note(cudaMemcpyAsync(to, src.data(), dst.size(), cudaMemcpyDeviceToHost, stream_));
    here.note(cudaStreamSynchronize(stream_));
    if (small) std::memcpy(dst.data(), to, dst.size());
  }
  Status synchronize() override {
    context().note(cudaStreamSynchronize(stream_));
    // What failed stays failed: after most errors the device takes no more calls.
    return check(first_error_, concat("a step on ", facts_.name));
  }
  Result<std::unique_ptr<Landing>> make_landing(size_t bytes) override {
    LM_TRY(use_device());
    return cuda::make_landing(context(), bytes);
  }
  bool asynchronous() const override { return true; }

  void embed(Tensor table, Tensor ids, float scale, Tensor out) override {
    cuda::embed(context(), table, ids, scale, out);
  }
  void rms_norm(const RmsNorm& op) override { cuda::rms_norm(context(), op); }
  void linear(const Linear& op) override { cuda::linears(context(), {&op, 1}); }
  void rope(const Rope& op, const StepView& step) override { cuda::rope(context(), op, step); }
  void kv_write(const KvWrite& op, const StepView& step) override {
    cuda::kv_write(context(), op, step);
  }
  void attention(const Attention& op, const StepView& step) override {
    cuda::attention(context(), op, step);
  }
  void glu(const Glu& op) override { cuda::glu(context(), op); }
  void moe_route(const MoeRoute& op) override { cuda::moe_route(context(), op); }
  void moe_ffn(const MoeFfn& op) override { cuda::moe_ffn(context(), op); }
  void add(Tensor a, Tensor b, Tensor out) override { cuda::add(context(), a, b, out); }
  void gather_rows(Tensor x, Tensor row_ids, Tensor out) override {
    cuda::gather_rows(context(), x, row_ids, out);
  }
  void gather_columns(Tensor x, Tensor columns, Tensor out) override {
    cuda::gather_columns(context(), x, columns, out);
  }
  void top_candidates(const TopCandidates& op) override { cuda::top_candidates(context(), op); }
  void draw_tokens(const DrawTokens& op) override { cuda::draw_tokens(context(), op); }
  void norm_linears(const RmsNorm& norm, std::span<const Linear> ops) override {
    cuda::norm_linears(context(), norm, ops);
  }
  void norm_glu(const RmsNorm& norm, const Linear& gate, const Linear& up, const Glu& op) override {
    cuda::norm_glu(context(), norm, gate, up, op);
  }
  void rope_kv_write(const HeadNorms& norms, const Rope& rope, const KvWrite& write,
                     const StepView& step) override {
    cuda::rope_kv_write(context(), norms, rope, write, step);
  }

  Result<DeviceLimits> measure_limits() override {
    LM_TRY(use_device());
    return cuda::measure_limits(context(), *this);
  }

  void run(StepKey key, Body body, void* self) override {
    context();  // a recording is replayed without any operation
    recorded_.run(key, body, self);
  }

 private:
  // The runtime's current device is the calling thread's, which may be another than the one that
  // loaded the model, and have used another device since.
  Status use_device() { return check(cudaSetDevice(facts_.index), "choosing the device"); }
  // For any work of this backend: chooses its device too.
  Context context() {
    const Context made{stream_, facts_, scratch_, &first_error_, recorded_};
    made.note(cudaSetDevice(facts_.index));
    return made;
  }

  DeviceFacts facts_;
  cudaStream_t stream_;
  ScratchMemory scratch_;
  std::unique_ptr<Buffer> scratch_memory_;
  Staging staging_;
  UploadRing uploads_{kUploads}, inputs_{kInputs};
  PinnedMemory downloads_;  // what a step carries to another room comes through here
  cudaError_t first_error_ = cudaSuccess;
  RecordedSteps recorded_;
};

Status CudaBackend::reserve(const StepLimits& limits) {
  LM_TRY(use_device());
  staging_.release();
  LM_TRY(uploads_.prepare(kUploadBytes));
  if (downloads_.bytes() == 0) downloads_ = LM_TRY(PinnedMemory::allocate(kDownloadBytes));
  LM_TRY(prepare_gemm(facts_));
  LM_TRY(prepare_attention(facts_));
  const ScratchSizes bytes = scratch_sizes(limits);
  recorded_.forget();  // they hold addresses of the memory that goes
  scratch_memory_.reset();
  scratch_memory_ = LM_TRY(allocate_buffer(*this, scratch_bytes(limits), true));
  std::byte* next = scratch_memory_->base();
  for (size_t i = 0; i < bytes.size(); ++i) {
    scratch_.base[i] = next;
    scratch_.bytes[i] = bytes[i];
    next += round_up(bytes[i]);
  }
  return ok();
}

Result<std::unique_ptr<Backend>> open(std::string_view device, const BackendOptions& options) {
  DeviceFacts facts = LM_TRY(open_device(device));
  facts.wgmma = facts.wgmma && options.wgmma;
  facts.overlaps_kernels = facts.overlaps_kernels && options.overlap_kernels;
  cudaStream_t stream = nullptr;
  LM_TRY(check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream"));
  return std::unique_ptr<Backend>(
      std::make_unique<CudaBackend>(std::move(facts), stream, options.record_steps));
}

}  // namespace

BackendEntry registry_entry() {
  return {.kind = "cuda",
          .names = device_names,
          .describe = describe_device,
          .open = open,
          .scratch_bytes = scratch_bytes,
          .weight_bytes = weight_bytes};
}

}  // namespace lm::cuda
