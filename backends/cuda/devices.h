// backends/cuda/devices.h — which NVIDIA devices are here, and why one can't be used.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "backends/cuda/context.h"
#include "backends/registry.h"

namespace lm::cuda {

// All of this machine; the first one's where there is none.
std::vector<std::string> device_names();
// Makes it the calling thread's device, and a context on it.
DeviceInfo describe_device(std::string_view name);
// "cuda:0": makes it the calling thread's device and reads its facts.
Result<DeviceFacts> open_device(std::string_view name);

}  // namespace lm::cuda
