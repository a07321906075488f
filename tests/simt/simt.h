// tests/simt/simt.h — what a test can set about the emulated device: the order in which threads
// run, when queued work is done, who hears of errors, and which calls fail.
// All of it belongs to the process, as the device of the CUDA runtime does.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace simt {

// The order of threads and blocks. A kernel whose result depends on it has a race.
enum class Schedule : uint8_t { forward, reverse, random };
void set_schedule(Schedule schedule, uint64_t seed = 1);

// When work of a stream is done: at once, or as late as the CUDA runtime may leave it — only when
// the host waits — so that a wait that is missing shows.
enum class StreamMode : uint8_t { eager, late };
void set_stream_mode(StreamMode mode);

// Whether data races of the kernels launched from now on are looked for (see races/races.h).
void set_race_detection(bool on);
bool race_detection();

// Called with what a kernel did wrong ("kernel k, block (0,0,0), thread (1,0,0): ..."); the rest of
// the grid is not run, and its launch or the wait for it returns cudaErrorLaunchFailure. Without
// one the message is printed and the program aborts. Returns the handler before.
using ErrorHandler = std::function<void(const std::string& message)>;
ErrorHandler set_error_handler(ErrorHandler handler);

// While it lives, errors of kernels are collected instead.
class ErrorCollector {
 public:
  ErrorCollector();
  ~ErrorCollector();
  ErrorCollector(const ErrorCollector&) = delete;
  ErrorCollector& operator=(const ErrorCollector&) = delete;
  const std::vector<std::string>& messages() const { return messages_; }
  bool has(const std::string& part) const;  // some message contains `part`

 private:
  std::vector<std::string> messages_;
  ErrorHandler before_;
};

struct DeviceSettings {
  int n_devices = 1;  // 0: every call says that the driver is missing
  int compute_capability = 90;
  int n_multiprocessors = 4;
  size_t memory_bytes = size_t(8) << 30;
};
void set_device(const DeviceSettings& settings);
const DeviceSettings& device_settings();

// Faults. Both count from now; 1: the very next one. 0: never.
void fail_allocation(int nth);   // of device or pinned memory: cudaErrorMemoryAllocation, once
void lose_device(int nth_call);  // this call of the runtime and all later ones fail
size_t live_allocations();       // of device and pinned memory: 0 when all was given back
size_t pageable_copies();  // so far, out of memory that is not pinned: they may wait for a stream

}  // namespace simt
