// backends/cuda/upload_ring.h — the way of a step's inputs to the device: through page-locked
// memory, so that nobody waits. (For a copy out of other memory the driver may wait until the
// stream has come to it: CUDA Runtime API, "API synchronization behavior".)
#pragma once
#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <span>

#include "backends/cuda/context.h"
#include "backends/cuda/memory.h"

namespace lm::cuda {

class UploadRing {
 public:
  UploadRing() = default;
  UploadRing(const UploadRing&) = delete;
  UploadRing& operator=(const UploadRing&) = delete;
  ~UploadRing() { release(); }

  Status prepare();
  // Whether send() takes so many bytes: no others than those of a step's inputs are worth it.
  bool holds(size_t bytes) const { return ready_ && bytes <= kPlaceBytes; }
  // Takes the bytes and enqueues their copy. Waits only for the copy whose place they take.
  void send(const Context& context, std::span<const std::byte> bytes, std::byte* to);

 private:
  static constexpr size_t kPlaceBytes = size_t{256} << 10;
  static constexpr size_t kPlaces = 4;  // two for a step: its inputs, and how its tokens are drawn

  void release();

  PinnedMemory memory_;
  std::array<cudaEvent_t, kPlaces> free_{};
  bool ready_ = false;
  size_t next_ = 0;
};

}  // namespace lm::cuda
