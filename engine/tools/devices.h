// engine/tools/devices.h — what can compute on this machine, and why something can't.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "backends/registry.h"
#include "engine/core/json.h"

namespace lm {

// Every device of every backend in this executable, in the order in which "auto" looks at them.
std::vector<DeviceInfo> all_devices(const Registry& registry);

// What a device does at best. {"read_gbps", "int8_gops", "f16_gflops", "f32_gflops"}, null where it
// is not known; "reads 33.8 GB/s, int8 1307 Gop/s, f32 348 GFLOP/s", empty when nothing is known.
Json limits_json(const DeviceLimits& limits);
std::string limits_text(const DeviceLimits& limits);

}  // namespace lm
