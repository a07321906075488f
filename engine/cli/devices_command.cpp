// llm devices — what --device takes on this machine.
#include "engine/cli/command.h"
#include "engine/cli/terminal.h"
#include "engine/core/json.h"
#include "engine/core/text.h"
#include "engine/tools/devices.h"

namespace lm::cli {
namespace {

// Limits of 0 where they can't be measured.
DeviceLimits measured(const Registry& registry, const DeviceInfo& device) {
  const Result<std::unique_ptr<Backend>> backend = registry.open(device.name, {});
  if (!backend.ok()) return {};
  const Result<DeviceLimits> limits = backend.value()->measure_limits();
  return limits.ok() ? limits.value() : DeviceLimits{};
}

class DevicesCommand final : public Command {
 public:
  std::string_view name() const override { return "devices"; }
  std::string_view summary() const override { return "what can compute here"; }

  void declare(Options& options) override {
    options.flag("--json", json_,
                 "[{\"name\", \"description\", \"memory_bytes\", \"usable\", \"reason\", "
                 "\"limits\": {\"read_gbps\", \"int8_gops\", \"f16_gflops\", \"f32_gflops\"}}...], "
                 "limits measured now");
  }

  Result<ExitStatus> run(const Context& context) override {
    Json list = Json::array();
    std::string lines;
    for (const DeviceInfo& device : all_devices(context.registry)) {
      const bool usable = device.unavailable.empty();
      const DeviceLimits limits = usable ? measured(context.registry, device) : DeviceLimits{};
      list.push_back({{"name", device.name},
                      {"description", device.description},
                      {"memory_bytes", device.memory_bytes},
                      {"usable", usable},
                      {"reason", device.unavailable},
                      {"limits", limits_json(limits)}});
      lines += concat(printable(device.name), "\t", printable(device.description), ", ",
                      human_bytes(device.memory_bytes),
                      !usable ? concat(": not usable, ", printable(device.unavailable))
                      : limits_text(limits).empty() ? std::string()
                                                    : concat(": ", limits_text(limits)),
                      "\n");
    }
    context.out.write(json_ ? dump_json(list) + "\n" : lines);
    return ExitStatus::ok;
  }

 private:
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_devices_command() {
  return std::make_unique<DevicesCommand>();
}

}  // namespace lm::cli
