#include "backends/cuda/devices.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <string>

#include "backends/cuda/device_code.h"
#include "backends/cuda/error.h"

namespace lm::cuda {
namespace {

constexpr int kLeastCapability = 75;  // Turing: int8 and f16 tensor cores

std::string device_name(int index) {
  return concat("cuda:", index);
}

// A driver's or runtime's version as people write it: 13000 is 13.0.
std::string version_text(int version) {
  return concat(version / 1000, ".", version % 1000 / 10);
}

bool has_driver() {
  int driver = 0;
  cudaDriverGetVersion(&driver);
  cudaGetLastError();
  return driver > 0;
}

// Why there is no device at all.
std::string no_device_reason(cudaError_t code) {
  if (!has_driver()) return "no NVIDIA driver is installed";
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  cudaGetLastError();
  if (code == cudaErrorInsufficientDriver) {
    return concat("the NVIDIA driver offers CUDA ", version_text(driver), ", expected at least ",
                  version_text(runtime / 1000 * 1000));
  }
  return cudaGetErrorString(code);
}

std::string capability_text(int capability) {
  return concat("compute capability ", capability / 10, ".", capability % 10);
}

Result<DeviceFacts> read_facts(int index) {
  cudaDeviceProp properties = {};
  LM_TRY(check(cudaGetDeviceProperties(&properties, index), "reading a device's properties"));
  DeviceFacts facts;
  facts.index = index;
  facts.name = device_name(index);
  facts.compute_capability = properties.major * 10 + properties.minor;
  facts.architecture = concat("sm_", facts.compute_capability);
  facts.description = concat(properties.name, ", ", facts.architecture);
  facts.n_multiprocessors = properties.multiProcessorCount;
  facts.max_shared_bytes = int(properties.sharedMemPerBlockOptin);
  facts.multiprocessor_shared_bytes = int(properties.sharedMemPerMultiprocessor);
  facts.wgmma = facts.compute_capability == 90;
  return facts;
}

// Of "cuda:1"; -1: it is no device's name.
int index_of(std::string_view name) {
  const std::string_view number = name.substr(std::min(name.find(':') + 1, name.size()));
  const std::optional<int64_t> index = parse_int(number);
  return index && *index >= 0 && *index <= std::numeric_limits<int>::max() ? int(*index) : -1;
}

DeviceInfo describe(int index) {
  DeviceInfo info{.name = device_name(index), .description = "", .unavailable = ""};
  Result<DeviceFacts> facts = read_facts(index);
  if (!facts.ok()) {
    info.unavailable = facts.error().message;
    return info;
  }
  info.description = facts.value().description;
  if (facts.value().compute_capability < kLeastCapability) {
    info.unavailable = concat("expected ", capability_text(kLeastCapability), " or more, found ",
                              capability_text(facts.value().compute_capability));
    return info;
  }
  size_t free_bytes = 0, total_bytes = 0;
  cudaError_t code = cudaSetDevice(index);
  if (code == cudaSuccess) code = cudaMemGetInfo(&free_bytes, &total_bytes);
  if (code != cudaSuccess) {
    info.unavailable = cudaGetErrorString(code);
  } else if (code_version() == 0) {
    info.unavailable =
        concat("this program was built without code for ", facts.value().architecture);
  }
  cudaGetLastError();
  info.memory_bytes = free_bytes;
  return info;
}

}  // namespace

std::vector<std::string> device_names() {
  int n = 0;
  if (cudaGetDeviceCount(&n) != cudaSuccess) n = 0;
  std::vector<std::string> names;
  for (int i = 0; i < std::max(n, 1); ++i) names.push_back(device_name(i));
  return names;
}

DeviceInfo describe_device(std::string_view name) {
  int n = 0;
  const cudaError_t code = cudaGetDeviceCount(&n);
  if (code != cudaSuccess || n == 0) {
    return {.name = std::string(name),
            .description = "NVIDIA device",
            .unavailable = code != cudaSuccess ? no_device_reason(code) : "none is installed",
            .present = has_driver()};
  }
  const int index = index_of(name);
  if (index < 0 || index >= n) {
    return {.name = std::string(name),
            .description = "NVIDIA device",
            .unavailable = concat("expected a number below ", n)};
  }
  return describe(index);
}

Result<DeviceFacts> open_device(std::string_view name) {
  const DeviceInfo info = describe_device(name);
  if (!info.unavailable.empty()) {
    return Error{ErrorCode::device, concat(printable(name), " can't be used: ", info.unavailable)};
  }
  DeviceFacts facts = LM_TRY(read_facts(index_of(name)));
  facts.tf32 = facts.compute_capability >= 80 && code_version() >= 80;
  facts.overlaps_kernels = facts.compute_capability >= 90 && code_version() >= 90;
  return facts;
}

}  // namespace lm::cuda
