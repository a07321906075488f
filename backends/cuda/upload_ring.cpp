#include "backends/cuda/upload_ring.h"

#include <cstring>

#include "backends/cuda/error.h"
#include "engine/core/check.h"

namespace lm::cuda {

Status UploadRing::prepare() {
  if (ready_) return ok();
  if (memory_.bytes() == 0) {
    memory_ = LM_TRY(PinnedMemory::allocate(kPlaces * kPlaceBytes));
  }
  for (cudaEvent_t& event : free_) {
    if (event != nullptr) continue;
    LM_TRY(check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event"));
  }
  ready_ = true;
  return ok();
}

void UploadRing::send(const Context& context, std::span<const std::byte> bytes, std::byte* to) {
  LM_CHECK(holds(bytes.size()));
  const cudaEvent_t free = free_[next_];
  std::byte* const place = memory_.base() + next_ * kPlaceBytes;
  next_ = (next_ + 1) % kPlaces;
  context.note(cudaEventSynchronize(free));
  std::memcpy(place, bytes.data(), bytes.size());
  context.note(cudaMemcpyAsync(to, place, bytes.size(), cudaMemcpyHostToDevice, context.stream));
  context.note(cudaEventRecord(free, context.stream));
}

void UploadRing::release() {
  for (cudaEvent_t& event : free_) {
    if (event != nullptr) cudaEventDestroy(event);
    event = nullptr;
  }
}

}  // namespace lm::cuda
