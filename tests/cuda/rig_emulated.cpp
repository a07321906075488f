#include "backends/cuda/cuda_backend.h"
#include "tests/cuda/rig.h"
#include "tests/simt/simt.h"
#include "tests/support/support.h"

namespace lm::test {

std::unique_ptr<Backend> open_cuda() {
  const BackendEntry entry = cuda::registry_entry();
  BackendOptions options;
  options.wgmma = true;  // where the device has it
  Result<std::unique_ptr<Backend>> backend = entry.open(entry.names().front(), options);
  return backend.ok() ? std::move(backend).value() : nullptr;
}

// Races are found in any order. Sanitizers see the same memory in every one; they have one with
// late streams too.
int n_schedules() {
  if (simt::race_detection()) return 1;
  return kSanitized ? 2 : 3;
}

// All but the first also do a stream's work as late as they may.
void use_schedule(int index) {
  simt::set_schedule(simt::Schedule(index));
  simt::set_stream_mode(index == 0 ? simt::StreamMode::eager : simt::StreamMode::late);
}

int n_device_kinds() {
  return 3;
}

void use_device_kind(int index) {
  constexpr int kCapabilities[] = {90, 86, 75};
  simt::DeviceSettings settings = simt::device_settings();
  settings.compute_capability = kCapabilities[index];
  simt::set_device(settings);
}

}  // namespace lm::test
