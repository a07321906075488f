#include "backends/cuda/memory.h"

#include <cuda_runtime.h>

#include <utility>

#include "backends/backend.h"
#include "backends/cuda/error.h"

namespace lm::cuda {
namespace {

class DeviceBuffer final : public Buffer {
 public:
  DeviceBuffer(Backend& backend, void* base, size_t bytes)
      : Buffer(backend, static_cast<std::byte*>(base), bytes) {}
  ~DeviceBuffer() override { cudaFree(base()); }  // a lost device has nothing to free
};

}  // namespace

Result<std::unique_ptr<Buffer>> allocate_buffer(Backend& backend, size_t bytes, bool zeroed) {
  void* base = nullptr;
  if (bytes > 0) {
    const cudaError_t code = cudaMalloc(&base, bytes);
    if (code != cudaSuccess) {
      cudaGetLastError();  // an allocation that failed is no error of what follows
      return Error{code == cudaErrorMemoryAllocation ? ErrorCode::out_of_memory : ErrorCode::device,
                   concat("expected ", bytes, " bytes of memory on ", backend.name(), ": ",
                          cudaGetErrorString(code))};
    }
  }
  std::unique_ptr<Buffer> buffer = std::make_unique<DeviceBuffer>(backend, base, bytes);
  if (zeroed && bytes > 0) {
    // The backend's stream does not wait for the runtime's own, which may still be clearing.
    cudaError_t code = cudaMemset(base, 0, bytes);
    if (code == cudaSuccess) code = cudaStreamSynchronize(nullptr);
    LM_TRY(check(code, "clearing memory"));
  }
  return buffer;
}

Result<PinnedMemory> PinnedMemory::allocate(size_t bytes) {
  void* base = nullptr;
  const cudaError_t code = cudaMallocHost(&base, bytes);
  if (code != cudaSuccess) cudaGetLastError();  // as above
  LM_TRY(check(code, "allocating page-locked memory"));
  return PinnedMemory(static_cast<std::byte*>(base), bytes);
}

PinnedMemory::PinnedMemory(PinnedMemory&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

PinnedMemory& PinnedMemory::operator=(PinnedMemory&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

PinnedMemory::~PinnedMemory() {
  if (base_ != nullptr) cudaFreeHost(base_);
}

}  // namespace lm::cuda
