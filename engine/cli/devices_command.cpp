// llm devices — what --device takes on this machine.
#include "engine/cli/command.h"
#include "engine/cli/terminal.h"
#include "engine/core/json.h"
#include "engine/core/text.h"
#include "engine/tools/devices.h"

namespace lm::cli {
namespace {

class DevicesCommand final : public Command {
 public:
  std::string_view name() const override { return "devices"; }
  std::string_view summary() const override { return "what can compute here"; }

  void declare(Options& options) override {
    options.flag("--json", json_,
                 "[{\"name\", \"description\", \"memory_bytes\", \"usable\", \"reason\"}...]");
  }

  Result<ExitStatus> run(const Context& context) override {
    Json list = Json::array();
    std::string lines;
    for (const DeviceInfo& device : all_devices(context.registry)) {
      const bool usable = device.unavailable.empty();
      list.push_back({{"name", device.name},
                      {"description", device.description},
                      {"memory_bytes", device.memory_bytes},
                      {"usable", usable},
                      {"reason", device.unavailable}});
      lines += concat(printable(device.name), "\t", printable(device.description), ", ",
                      human_bytes(device.memory_bytes),
                      usable ? "" : concat(": not usable, ", printable(device.unavailable)), "\n");
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
