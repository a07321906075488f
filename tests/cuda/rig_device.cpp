#include "backends/cuda/cuda_backend.h"
#include "tests/cuda/rig.h"

namespace lm::test {

namespace {

bool wgmma = false;

}  // namespace

std::unique_ptr<Backend> open_cuda() {
  const BackendEntry entry = cuda::registry_entry();
  BackendOptions options;
  options.wgmma = wgmma;
  for (const DeviceInfo& device : describe_all(entry)) {
    if (!device.unavailable.empty()) continue;
    Result<std::unique_ptr<Backend>> backend = entry.open(device.name, options);
    if (backend.ok()) return std::move(backend).value();
  }
  return nullptr;
}

int n_schedules() {
  return 1;
}
void use_schedule(int) {}

// Without and with what compute capability 9.0 alone has: the same on other devices.
int n_device_kinds() {
  return 2;
}
void use_device_kind(int index) {
  wgmma = index == 1;
}

}  // namespace lm::test
