// backends/cuda/staging.h — the way of a file's bytes to the device: through page-locked memory,
// two slabs in turn, so that the file is read while the device copies and repacks.
#pragma once
#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "backends/cuda/context.h"
#include "backends/cuda/memory.h"
#include "engine/core/thread_pool.h"

namespace lm::cuda {

class Staging {
 public:
  static constexpr size_t kSlabBytes = size_t{32} << 20;

  Staging() = default;
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging() { release(); }

  // Makes slabs that hold at least `bytes` each; until release() they are kept.
  Status prepare(Backend& backend, size_t bytes);
  size_t slab_bytes() const { return slabs_[0].pinned.bytes(); }

  // Enqueues a copy of `bytes`, at most a slab, to device memory: to `to`, or where that is null to
  // memory of the slab, which is valid until two more calls. Returns where they are.
  Result<std::byte*> send(const Context& context, std::span<const std::byte> bytes, std::byte* to);
  // After what reads a slab has been enqueued: it may then be filled again.
  Status sent(const Context& context);

  void release();  // waits for what still reads it

 private:
  struct Slab {
    PinnedMemory pinned;
    std::unique_ptr<Buffer> device;
    cudaEvent_t free = nullptr;
  };
  Status make_slabs(Backend& backend, size_t bytes);

  std::array<Slab, 2> slabs_;
  std::optional<ThreadPool> pool_;
  size_t next_ = 0;
};

}  // namespace lm::cuda
