#include "backends/cuda/staging.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "backends/cuda/error.h"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;  // of a slab, for one thread at a time

int reading_threads() {
  return int(std::clamp(std::thread::hardware_concurrency(), 1u, 4u));
}

}  // namespace

Status Staging::prepare(Backend& backend, size_t bytes) {
  const size_t wanted = std::max(bytes, kSlabBytes);
  if (slab_bytes() >= wanted) return ok();
  release();
  const Status made = make_slabs(backend, wanted);
  if (!made.ok()) release();
  return made;
}

Status Staging::make_slabs(Backend& backend, size_t bytes) {
  for (Slab& slab : slabs_) {
    slab.pinned = LM_TRY(PinnedMemory::allocate(bytes));
    slab.device = LM_TRY(allocate_buffer(backend, bytes, false));
    LM_TRY(check(cudaEventCreateWithFlags(&slab.free, cudaEventDisableTiming), "making an event"));
  }
  pool_.emplace(reading_threads());
  return ok();
}

Result<std::byte*> Staging::send(const Context& context, std::span<const std::byte> bytes,
                                 std::byte* to) {
  Slab& slab = slabs_[next_];
  LM_CHECK(bytes.size() <= slab.pinned.bytes());
  LM_TRY(check(cudaEventSynchronize(slab.free), "copying weights to the device"));
  const int64_t pieces = int64_t((bytes.size() + kPieceBytes - 1) / kPieceBytes);
  pool_->parallel_for(pieces, [&](int64_t i, int) {
    const size_t first = size_t(i) * kPieceBytes;
    std::memcpy(slab.pinned.base() + first, bytes.data() + first,
                std::min(kPieceBytes, bytes.size() - first));
  });
  if (to == nullptr) to = slab.device->base();
  LM_TRY(check(
      cudaMemcpyAsync(to, slab.pinned.base(), bytes.size(), cudaMemcpyHostToDevice, context.stream),
      "copying weights to the device"));
  return to;
}

Status Staging::sent(const Context& context) {
  LM_TRY(check(cudaEventRecord(slabs_[next_].free, context.stream), "recording an event"));
  next_ = (next_ + 1) % slabs_.size();
  return ok();
}

void Staging::release() {
  for (Slab& slab : slabs_) {
    if (slab.free != nullptr) {
      cudaEventSynchronize(slab.free);
      cudaEventDestroy(slab.free);
    }
    slab = Slab();
  }
  pool_.reset();
}

}  // namespace lm::cuda
