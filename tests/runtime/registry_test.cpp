// Which device is meant, and that no other is looked at: on a graphics card a look takes a context.
#include "backends/registry.h"

#include "tests/support/support.h"

namespace lm {
namespace {

// Of four devices, of which the second and the third can be used.
std::vector<std::string> described;  // for BackendEntry::describe, a plain function

Registry four_devices() {
  described.clear();
  Registry registry;
  registry.add({.kind = "card",
                .names =
                    [] {
                      return std::vector<std::string>{"card:0", "card:1", "card:2", "card:3"};
                    },
                .describe =
                    [](std::string_view name) {
                      described.emplace_back(name);
                      const bool usable = name == "card:1" || name == "card:2";
                      return DeviceInfo{.name = std::string(name),
                                        .description = "",
                                        .unavailable = usable ? "" : "it is broken"};
                    },
                .open = nullptr});
  return registry;
}

using Names = std::vector<std::string>;

TEST_CASE("registry: the first usable device is found, and none behind it is looked at") {
  for (const char* wanted : {"auto", "card"}) {
    CAPTURE(wanted);
    const Registry registry = four_devices();
    CHECK(test::require_ok(registry.find(wanted)).info.name == "card:1");
    CHECK(described == Names{"card:0", "card:1"});
  }
}

TEST_CASE("registry: a device that is named is the only one that is looked at") {
  const Registry registry = four_devices();
  CHECK(test::require_ok(registry.find("card:2")).info.name == "card:2");
  CHECK(described == Names{"card:2"});
}

TEST_CASE("registry: why a device can't be used, or is not known") {
  const Registry registry = four_devices();
  const Result<FoundDevice> broken = registry.find("card:3");
  REQUIRE_FALSE(broken.ok());
  CHECK(broken.error().message == "card:3 can't be used: it is broken");
  described.clear();
  for (const char* unknown : {"card:4", "card:", "disk", ""}) {
    CAPTURE(unknown);
    const Result<FoundDevice> none = registry.find(unknown);
    REQUIRE_FALSE(none.ok());
    CHECK(none.error().message.find("expected a device of this machine") == 0);
  }
  CHECK(described.empty());
}

}  // namespace
}  // namespace lm
