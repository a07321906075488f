#include "engine/tools/devices.h"

namespace lm {

std::vector<DeviceInfo> all_devices(const Registry& registry) {
  std::vector<DeviceInfo> devices;
  for (const BackendEntry& entry : registry.entries()) {
    for (DeviceInfo& device : entry.devices()) devices.push_back(std::move(device));
  }
  return devices;
}

}  // namespace lm
