// backends/cuda/memory.h — memory on the device, and pinned memory of the host.
#pragma once
#include <cstddef>
#include <memory>

#include "backends/tensor.h"
#include "engine/core/result.h"

namespace lm::cuda {

// Device memory, freed with the buffer; zeros when `zeroed`.
Result<std::unique_ptr<Buffer>> allocate_buffer(Backend& backend, size_t bytes, bool zeroed);

// Page-locked memory of the host, which the device copies from and to at full speed.
class PinnedMemory {
 public:
  static Result<PinnedMemory> allocate(size_t bytes);
  PinnedMemory() = default;
  PinnedMemory(PinnedMemory&& other) noexcept;
  PinnedMemory& operator=(PinnedMemory&& other) noexcept;
  ~PinnedMemory();

  std::byte* base() const { return base_; }
  size_t bytes() const { return bytes_; }

 private:
  PinnedMemory(std::byte* base, size_t bytes) : base_(base), bytes_(bytes) {}
  std::byte* base_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace lm::cuda
