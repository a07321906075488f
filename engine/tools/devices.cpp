#include "engine/tools/devices.h"

#include <iomanip>
#include <sstream>

namespace lm {
namespace {

constexpr double kGiga = 1e9;

}  // namespace

std::vector<DeviceInfo> all_devices(const Registry& registry) {
  std::vector<DeviceInfo> devices;
  for (const BackendEntry& entry : registry.entries()) {
    for (DeviceInfo& device : describe_all(entry)) devices.push_back(std::move(device));
  }
  return devices;
}

Json limits_json(const DeviceLimits& limits) {
  const auto known = [](double rate) { return rate > 0 ? Json(rate / kGiga) : Json(nullptr); };
  return {{"read_gbps", known(limits.read_bytes_per_second)},
          {"int8_gops", known(limits.int8_ops_per_second)},
          {"f16_gflops", known(limits.f16_flops_per_second)},
          {"f32_gflops", known(limits.f32_flops_per_second)}};
}

std::string limits_text(const DeviceLimits& limits) {
  std::ostringstream text;
  text << std::fixed;
  const auto add = [&](std::string_view what, double rate, int decimals, std::string_view unit) {
    if (rate <= 0) return;
    if (text.tellp() > 0) text << ", ";
    text << what << ' ' << std::setprecision(decimals) << rate / kGiga << ' ' << unit;
  };
  add("reads", limits.read_bytes_per_second, 1, "GB/s");
  add("int8", limits.int8_ops_per_second, 0, "Gop/s");
  add("f16", limits.f16_flops_per_second, 0, "GFLOP/s");
  add("f32", limits.f32_flops_per_second, 0, "GFLOP/s");
  return std::move(text).str();
}

}  // namespace lm
