#include "backends/cuda/landing.h"

#include <utility>

#include "backends/cuda/error.h"
#include "backends/cuda/memory.h"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

class StreamLanding final : public Landing {
 public:
  StreamLanding(const Context& context, PinnedMemory memory, cudaEvent_t arrived)
      : context_(context), memory_(std::move(memory)), arrived_(arrived) {}
  ~StreamLanding() override {
    cudaEventSynchronize(arrived_);
    cudaEventDestroy(arrived_);
  }

  void send(std::span<const Tensor> tensors) override {
    size_t sent = 0;
    for (const Tensor& t : tensors) {
      const size_t bytes = size_t(t.rows() * t.row_bytes);
      LM_CHECK(t.layout == 0 && bytes <= memory_.bytes() - sent);
      if (bytes == 0) continue;
      context_.note(cudaMemcpyAsync(memory_.base() + sent, t.data(), bytes, cudaMemcpyDeviceToHost,
                                    context_.stream));
      sent += bytes;
    }
    context_.note(cudaEventRecord(arrived_, context_.stream));
  }
  Result<std::span<const std::byte>> wait() override {
    context_.note(cudaEventSynchronize(arrived_));
    // What failed stays failed: see CudaBackend::synchronize.
    LM_TRY(check(*context_.first_error, concat("a step on ", context_.facts.name)));
    return std::span<const std::byte>(memory_.base(), memory_.bytes());
  }

 private:
  Context context_;
  PinnedMemory memory_;
  cudaEvent_t arrived_;
};

}  // namespace

Result<std::unique_ptr<Landing>> make_landing(const Context& context, size_t bytes) {
  PinnedMemory memory = LM_TRY(PinnedMemory::allocate(bytes));
  cudaEvent_t arrived = nullptr;
  LM_TRY(check(cudaEventCreateWithFlags(&arrived, cudaEventDisableTiming), "making an event"));
  return std::unique_ptr<Landing>(
      std::make_unique<StreamLanding>(context, std::move(memory), arrived));
}

}  // namespace lm::cuda
