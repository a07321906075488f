// backends/cuda/upload_ring.h — the way of a step's inputs to the device: through page-locked
// memory, so that nobody waits. (For a copy out of other memory the driver may wait until the
// stream has come to it: CUDA Runtime API, "API synchronization behavior".)
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <span>
#include <vector>

#include "backends/cuda/context.h"
#include "backends/cuda/memory.h"

namespace lm::cuda {

class UploadRing {
 public:
  explicit UploadRing(size_t n_places) : free_(n_places) {}
  UploadRing(const UploadRing&) = delete;
  UploadRing& operator=(const UploadRing&) = delete;
  ~UploadRing() { release(); }

  // Makes places of at least so many bytes.
  Status prepare(size_t place_bytes);
  // Whether send() takes so many bytes.
  bool holds(size_t bytes) const { return bytes <= place_bytes_; }
  // Takes the bytes and enqueues their copy. Waits only for the copy whose place they take.
  void send(const Context& context, std::span<const std::byte> bytes, std::byte* to);

 private:
  void release();  // waits for what still reads it

  PinnedMemory memory_;
  std::vector<cudaEvent_t> free_;  // of each place: what was sent from it is gone
  size_t place_bytes_ = 0;
  size_t next_ = 0;
};

}  // namespace lm::cuda
