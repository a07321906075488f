// tests/simt/device.h — the state behind the runtime API: settings, faults, memory, the last error.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "tests/simt/runtime.h"
#include "tests/simt/simt.h"

namespace simt {

enum class Room : uint8_t { device, pinned, registered };

struct Allocation {
  size_t bytes;
  Room room;
  int device;  // that was the thread's when it was made
};

// Whose memory the host can reach: what runs on a device reaches that one's, a copy every one's.
inline constexpr int kNoDevice = -2, kEveryDevice = -1;

class Memory {
 public:
  // nullptr: there is no more.
  void* allocate(size_t bytes, Room room, int device, size_t limit);
  bool add_registered(void* memory, size_t bytes);
  bool remove(void* memory, Room room);  // false: it is none of these
  // What [p, p + bytes) lies in; nullptr: pageable memory of the host, or not wholly inside.
  const Allocation* holder(const void* p, size_t bytes) const;
  const void* begin_of(const void* p) const;        // of the allocation; nullptr: it lies in none
  bool touches(const void* p, size_t bytes) const;  // part of it lies in an allocation
  // With AddressSanitizer, device memory is out of the host's reach except while work is done.
  void set_reach(int device);
  size_t device_bytes(int device) const;
  size_t n_live() const { return allocations_.size(); }

 private:
  std::map<const unsigned char*, Allocation> allocations_;
};

struct DeviceState {
  std::recursive_mutex mutex;
  DeviceSettings settings;
  StreamMode stream_mode = StreamMode::eager;
  int allocations_until_failure = 0, calls_until_loss = 0;  // 0: never
  bool lost = false;
  size_t pageable_copies = 0;
  int call_depth = 0;  // functions of the API call each other
  cudaError_t last_error = cudaSuccess;
  cudaError_t kernel_error = cudaSuccess;  // of work done since somebody was told
  Memory memory;
  int reach = kNoDevice;
};
DeviceState& device();
// The calling thread's: see cudaSetDevice.
int& current_device();

// While it lives, a device's memory is within reach.
class DoingWork {
 public:
  explicit DoingWork(int of_device) : before_(device().reach) { reach(of_device); }
  ~DoingWork() { reach(before_); }
  DoingWork(const DoingWork&) = delete;
  DoingWork& operator=(const DoingWork&) = delete;

 private:
  static void reach(int of_device) {
    if (device().reach != of_device) device().memory.set_reach(of_device);
    device().reach = of_device;
  }
  int before_;
};

// Every function of the API: refuses when there is no device, remembers errors.
template <class Body>
cudaError_t api_call(const Body& body) {
  DeviceState& d = device();
  const std::lock_guard lock(d.mutex);
  if (d.call_depth == 0 && d.calls_until_loss > 0 && --d.calls_until_loss == 0) d.lost = true;
  ++d.call_depth;
  const cudaError_t error = d.settings.n_devices == 0 ? cudaErrorInsufficientDriver
                            : d.lost                  ? cudaErrorUnknown
                                                      : body();
  --d.call_depth;
  if (error != cudaSuccess && error != cudaErrorNotReady) d.last_error = error;
  return error;
}

}  // namespace simt
