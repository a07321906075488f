// tests/runtime/twin.h — a machine with a device beside the CPU, which computes as the CPU does.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "tests/runtime/support.h"
#include "tests/support/room_backend.h"

namespace lm::test {

// Beside the CPU a device of its own memory, which computes as the CPU does.
inline constexpr uint64_t kTwinMemory = uint64_t{64} << 20;

inline Registry twin_registry() {
  Registry registry;
  registry.add({.kind = "twin",
                .names = [] { return std::vector<std::string>{"twin:0"}; },
                .describe =
                    [](std::string_view name) {
                      return DeviceInfo{.name = std::string(name),
                                        .description = "a room of its own",
                                        .memory_bytes = kTwinMemory,
                                        .unavailable = ""};
                    },
                .open = [](std::string_view device,
                           const BackendOptions& options) -> Result<std::unique_ptr<Backend>> {
                  return std::unique_ptr<Backend>(std::make_unique<RoomBackend>(
                      std::string(device), LM_TRY(cpu::registry_entry().open("cpu", options))));
                }});
  registry.add(cpu::registry_entry());
  return registry;
}

inline std::unique_ptr<Instance> open_with_twin(const InstanceOptions& options) {
  return require_ok(Instance::open(twin_registry(), options));
}

}  // namespace lm::test
