// engine/tools/devices.h — what can compute on this machine, and why something can't.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "backends/registry.h"

namespace lm {

// Every device of every backend in this executable, in the order in which "auto" looks at them.
std::vector<DeviceInfo> all_devices(const Registry& registry);

}  // namespace lm
