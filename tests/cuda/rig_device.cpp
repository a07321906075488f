#include "backends/cuda/cuda_backend.h"
#include "tests/cuda/rig.h"

namespace lm::test {

std::unique_ptr<Backend> open_cuda() {
  const BackendEntry entry = cuda::registry_entry();
  for (const DeviceInfo& device : entry.devices()) {
    if (!device.unavailable.empty()) continue;
    Result<std::unique_ptr<Backend>> backend = entry.open(device.name, {});
    if (backend.ok()) return std::move(backend).value();
  }
  return nullptr;
}

int n_schedules() {
  return 1;
}
void use_schedule(int) {}

int n_device_kinds() {
  return 1;
}
void use_device_kind(int) {}

}  // namespace lm::test
