#include "backends/cuda/upload_ring.h"

#include <cstring>

#include "backends/cuda/error.h"
#include "engine/core/check.h"

namespace lm::cuda {

Status UploadRing::prepare(size_t place_bytes) {
  if (holds(place_bytes)) return ok();
  release();
  memory_ = LM_TRY(PinnedMemory::allocate(free_.size() * place_bytes));
  for (cudaEvent_t& event : free_) {
    LM_TRY(check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event"));
  }
  place_bytes_ = place_bytes;
  return ok();
}

void UploadRing::send(const Context& context, std::span<const std::byte> bytes, std::byte* to) {
  LM_CHECK(holds(bytes.size()));
  const cudaEvent_t free = free_[next_];
  std::byte* const place = memory_.base() + next_ * place_bytes_;
  next_ = (next_ + 1) % free_.size();
  context.note(cudaEventSynchronize(free));
  std::memcpy(place, bytes.data(), bytes.size());
  context.note(cudaMemcpyAsync(to, place, bytes.size(), cudaMemcpyHostToDevice, context.stream));
  context.note(cudaEventRecord(free, context.stream));
}

void UploadRing::release() {
  place_bytes_ = 0;
  for (cudaEvent_t& event : free_) {
    if (event == nullptr) continue;
    cudaEventSynchronize(event);
    cudaEventDestroy(event);
    event = nullptr;
  }
  memory_ = {};
}

}  // namespace lm::cuda
