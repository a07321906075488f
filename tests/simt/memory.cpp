// Memory of the emulated device is memory of the host with bounds: 0xff when new, guarded by
// AddressSanitizer or by a canary behind it.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/simt/address_sanitizer.h"
#include "tests/simt/device.h"
#include "tests/simt/stream.h"

namespace simt {
namespace {

constexpr size_t kAlignment = 256;  // what cudaMalloc promises
constexpr size_t kCanaryBytes = SIMT_ASAN ? 0 : 64;
constexpr unsigned char kPoison = 0xff;

const unsigned char* bytes_at(const void* p) {
  return static_cast<const unsigned char*>(p);
}

}  // namespace

void* Memory::allocate(size_t bytes, Room room, int device, size_t limit) {
  if (room == Room::device && bytes > limit - device_bytes(device)) return nullptr;
  void* memory = nullptr;
  if (posix_memalign(&memory, kAlignment, bytes + kCanaryBytes) != 0) return nullptr;
  std::memset(memory, kPoison, bytes + kCanaryBytes);
  allocations_[bytes_at(memory)] = {bytes, room, device};
  if (room == Room::device) __asan_poison_memory_region(memory, bytes);
  return memory;
}

size_t Memory::device_bytes(int device) const {
  size_t total = 0;
  for (const auto& [begin, allocation] : allocations_) {
    if (allocation.room == Room::device && allocation.device == device) total += allocation.bytes;
  }
  return total;
}

void Memory::set_reach(int device) {
  if (!SIMT_ASAN) return;
  for (const auto& [begin, allocation] : allocations_) {
    if (allocation.room != Room::device) continue;
    if (device == kEveryDevice || device == allocation.device) {
      __asan_unpoison_memory_region(begin, allocation.bytes);
    } else {
      __asan_poison_memory_region(begin, allocation.bytes);
    }
  }
}

bool Memory::add_registered(void* memory, size_t bytes) {
  if (touches(memory, bytes)) return false;
  allocations_[bytes_at(memory)] = {bytes, Room::registered, current_device()};
  return true;
}

bool Memory::remove(void* memory, Room room) {
  const auto found = allocations_.find(bytes_at(memory));
  if (found == allocations_.end() || found->second.room != room) return false;
  const size_t bytes = found->second.bytes;
  allocations_.erase(found);
  if (room == Room::registered) return true;
  __asan_unpoison_memory_region(memory, bytes);
  const unsigned char* const end = bytes_at(memory) + bytes;
  if (!std::all_of(end, end + kCanaryBytes, [](auto b) { return b == kPoison; })) {
    report_outside_kernel("somebody wrote behind an allocation of " + std::to_string(bytes) +
                          " bytes");
  }
  std::free(memory);
  return true;
}

const Allocation* Memory::holder(const void* p, size_t bytes) const {
  auto after = allocations_.upper_bound(bytes_at(p));
  if (after == allocations_.begin()) return nullptr;
  const auto& [begin, allocation] = *--after;
  return bytes_at(p) + bytes <= begin + allocation.bytes ? &allocation : nullptr;
}

const void* Memory::begin_of(const void* p) const {
  return holder(p, 1) != nullptr ? std::prev(allocations_.upper_bound(bytes_at(p)))->first
                                 : nullptr;
}

bool Memory::touches(const void* p, size_t bytes) const {
  auto next = allocations_.lower_bound(bytes_at(p) + bytes);
  if (next == allocations_.begin()) return false;
  const auto& [begin, allocation] = *--next;
  return begin + allocation.bytes > bytes_at(p);
}

namespace {

cudaError_t allocate(void** memory, size_t bytes, Room room) {
  return api_call([&] {
    DeviceState& d = device();
    if (const cudaError_t error = refuse_in_capture()) return error;
    *memory = nullptr;
    if (bytes == 0) return cudaSuccess;
    const bool fails = d.allocations_until_failure > 0 && --d.allocations_until_failure == 0;
    if (!fails) *memory = d.memory.allocate(bytes, room, current_device(), d.settings.memory_bytes);
    return *memory != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
  });
}

// Waits for the device, as cudaFree and cudaFreeHost do.
cudaError_t release(void* memory, Room room) {
  return api_call([&] {
    if (memory == nullptr) return cudaSuccess;
    if (const cudaError_t error = refuse_in_capture()) return error;
    const cudaError_t error = finish_all_streams();
    return device().memory.remove(memory, room) ? error : cudaErrorInvalidValue;
  });
}

bool is_device(const void* p, size_t bytes) {
  const Allocation* const holder = device().memory.holder(p, bytes);
  return holder != nullptr && holder->room == Room::device;
}
// Pageable memory of the host is no allocation of ours at all.
bool is_pageable(const void* p, size_t bytes) {
  return !device().memory.touches(p, bytes);
}

cudaError_t check_copy(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const auto is_whole = [&](const void* p) {
    return is_pageable(p, bytes) || device().memory.holder(p, bytes) != nullptr;
  };
  if (!is_whole(to) || !is_whole(from)) return cudaErrorInvalidValue;
  if (kind == cudaMemcpyDefault) return cudaSuccess;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  return is_device(to, bytes) == to_device && is_device(from, bytes) == from_device
             ? cudaSuccess
             : cudaErrorInvalidMemcpyDirection;
}

}  // namespace
}  // namespace simt

using simt::api_call;
using simt::device;
using simt::Room;

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  return simt::allocate(memory, bytes, Room::device);
}
cudaError_t cudaMallocHost(void** memory, size_t bytes) {
  return simt::allocate(memory, bytes, Room::pinned);
}
cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  return simt::allocate(memory, bytes, Room::pinned);
}
cudaError_t cudaFree(void* memory) {
  return simt::release(memory, Room::device);
}
cudaError_t cudaFreeHost(void* memory) {
  return simt::release(memory, Room::pinned);
}

cudaError_t cudaHostRegister(void* memory, size_t bytes, unsigned) {
  return api_call([&] {
    return device().memory.add_registered(memory, bytes) ? cudaSuccess
                                                         : cudaErrorHostMemoryAlreadyRegistered;
  });
}
cudaError_t cudaHostUnregister(void* memory) {
  return api_call([&] {
    return device().memory.remove(memory, Room::registered) ? cudaSuccess
                                                            : cudaErrorHostMemoryNotRegistered;
  });
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  return api_call([&] {
    *total = device().settings.memory_bytes;
    *free = *total - device().memory.device_bytes(simt::current_device());
    return cudaSuccess;
  });
}

// Pageable memory is read before the call returns, and written before it returns; pinned memory
// whenever the stream gets there.
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return api_call([&] {
    if (bytes == 0) return cudaSuccess;
    if (const cudaError_t error = simt::check_copy(to, from, bytes, kind)) return error;
    if (simt::is_pageable(from, bytes)) ++device().pageable_copies;
    const auto copy = [=] {
      std::memcpy(to, from, bytes);
      return cudaSuccess;
    };
    if (simt::is_capturing(stream) || device().stream_mode == simt::StreamMode::eager) {
      return simt::enqueue(stream, copy);
    }
    if (simt::is_pageable(from, bytes)) {
      const auto* const begin = static_cast<const unsigned char*>(from);
      return simt::enqueue(stream, [to, staged = std::vector(begin, begin + bytes)] {
        std::memcpy(to, staged.data(), staged.size());
        return cudaSuccess;
      });
    }
    const cudaError_t error = simt::enqueue(stream, copy);
    if (error != cudaSuccess || !simt::is_pageable(to, bytes)) return error;
    return simt::finish_stream(stream);
  });
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return api_call([&] {
    if (const cudaError_t error = simt::refuse_in_capture()) return error;
    const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
    return error != cudaSuccess ? error : simt::finish_stream(nullptr);
  });
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  return api_call([&] {
    if (width > to_pitch || width > from_pitch) return cudaErrorInvalidValue;
    for (size_t row = 0; row < height; ++row) {
      const cudaError_t error =
          cudaMemcpyAsync(static_cast<char*>(to) + row * to_pitch,
                          static_cast<const char*>(from) + row * from_pitch, width, kind, stream);
      if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
  });
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  return api_call([&] {
    if (bytes == 0) return cudaSuccess;
    const simt::Allocation* const holder = device().memory.holder(memory, bytes);
    if (holder == nullptr) return cudaErrorInvalidValue;
    // Devices don't reach each other's memory: nobody has allowed it (cudaDeviceEnablePeerAccess).
    if (holder->room == Room::device && holder->device != simt::device_of(stream)) {
      return cudaErrorInvalidValue;
    }
    return simt::enqueue(stream, [=] {
      std::memset(memory, value, bytes);
      return cudaSuccess;
    });
  });
}

cudaError_t cudaMemset(void* memory, int value, size_t bytes) {
  return api_call([&] {
    if (const cudaError_t error = simt::refuse_in_capture()) return error;
    return cudaMemsetAsync(memory, value, bytes, nullptr);
  });
}
