#include "backends/registry.h"

#include <utility>

#include "engine/core/text.h"

namespace lm {

std::vector<DeviceInfo> describe_all(const BackendEntry& entry) {
  std::vector<DeviceInfo> devices;
  for (const std::string& name : entry.names()) devices.push_back(entry.describe(name));
  return devices;
}

Result<FoundDevice> Registry::find(std::string_view device) const {
  std::string reason;
  for (const BackendEntry& entry : entries_) {
    if (device != "auto" && device.substr(0, device.find(':')) != entry.kind) continue;
    for (const std::string& name : entry.names()) {
      if (device != "auto" && device != entry.kind && device != name) continue;
      DeviceInfo info = entry.describe(name);
      if (info.unavailable.empty()) return FoundDevice{&entry, std::move(info)};
      if (reason.empty()) reason = concat(info.name, " can't be used: ", info.unavailable);
    }
  }
  if (reason.empty()) {
    reason = concat("expected a device of this machine, found \"", printable(device), "\"");
  }
  return Error{ErrorCode::bad_request, reason};
}

Result<std::unique_ptr<Backend>> Registry::open(std::string_view device,
                                                const BackendOptions& options) const {
  const FoundDevice found = LM_TRY(find(device));
  return found.entry->open(found.info.name, options);
}

}  // namespace lm
