// engine/core/machine.h — what this process may use of the machine it runs on.
#pragma once
#include <cstddef>
#include <cstdint>

namespace lm {

// Physical cores that this process may run on, within its affinity mask and the container's CPU
// quota (cgroup v1 or v2). At least 1.
int usable_cores();

// Threads that can run at once, likewise: more than cores where a core runs two.
int usable_threads();

// Bytes that can still be allocated before the machine or the container's memory limit is reached.
uint64_t available_memory();

// Largest resident set of this process so far, in bytes.
uint64_t peak_rss();

// From now on peak_rss() counts anew; where the system does not allow that, nothing happens.
void reset_peak_rss();

}  // namespace lm
