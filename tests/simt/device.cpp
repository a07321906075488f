#include "tests/simt/device.h"

#include <algorithm>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <map>
#include <utility>

#include "tests/simt/stream.h"

namespace simt {
namespace {

constexpr size_t kSharedBytes = 48 * 1024;  // of a block that asked for no more

// CUDA C++ Programming Guide, "Technical Specifications per Compute Capability".
struct Generation {
  int compute_capability;
  int n_threads, n_blocks;   // that a multiprocessor holds
  size_t shared_bytes;       // of a multiprocessor
  size_t most_shared_bytes;  // of a block
};
constexpr size_t kKiB = 1024;
constexpr Generation kGenerations[] = {
    {75, 1024, 16, 64 * kKiB, 64 * kKiB},   {80, 2048, 32, 164 * kKiB, 163 * kKiB},
    {86, 1536, 16, 100 * kKiB, 99 * kKiB},  {89, 1536, 24, 100 * kKiB, 99 * kKiB},
    {90, 2048, 32, 228 * kKiB, 227 * kKiB}, {100, 2048, 32, 228 * kKiB, 227 * kKiB},
    {120, 1536, 24, 100 * kKiB, 99 * kKiB},
};

// The generation of the device as it is set; of the next older one where it is unknown.
const Generation& generation() {
  const int wanted = device().settings.compute_capability;
  const Generation* found = &kGenerations[0];
  for (const Generation& each : kGenerations) {
    if (each.compute_capability <= wanted) found = &each;
  }
  return *found;
}

constexpr int kBlockThreads = 1024;
constexpr unsigned kMostBlocksYZ = 65535;

// On a device.
using Function = std::pair<int, const void*>;
std::map<Function, size_t>& allowed_shared() {
  static std::map<Function, size_t> bytes_of_function;
  return bytes_of_function;
}

// On the calling thread's device.
size_t allowed_shared(const void* function) {
  const auto found = allowed_shared().find({current_device(), function});
  return found == allowed_shared().end() ? kSharedBytes : found->second;
}

cudaDeviceProp properties_of(const DeviceSettings& settings) {
  cudaDeviceProp p = {};
  std::snprintf(p.name, sizeof p.name, "emulated");
  p.totalGlobalMem = settings.memory_bytes;
  p.sharedMemPerBlock = kSharedBytes;
  p.regsPerBlock = 65536;
  p.warpSize = 32;
  p.maxThreadsPerBlock = kBlockThreads;
  p.maxThreadsDim[0] = p.maxThreadsDim[1] = kBlockThreads;
  p.maxThreadsDim[2] = 64;
  p.maxGridSize[0] = INT_MAX;
  p.maxGridSize[1] = p.maxGridSize[2] = int(kMostBlocksYZ);
  p.major = settings.compute_capability / 10;
  p.minor = settings.compute_capability % 10;
  p.multiProcessorCount = settings.n_multiprocessors;
  p.l2CacheSize = 4 << 20;
  p.maxThreadsPerMultiProcessor = generation().n_threads;
  p.sharedMemPerMultiprocessor = generation().shared_bytes;
  p.sharedMemPerBlockOptin = generation().most_shared_bytes;
  p.memoryBusWidth = 256;
  return p;
}

cudaError_t validate(const cudaLaunchConfig_t& config, const void* function) {
  const dim3 b = config.blockDim, g = config.gridDim;
  const uint64_t threads = uint64_t(b.x) * b.y * b.z;
  const bool grid_fits = g.x >= 1 && g.x <= INT_MAX && g.y >= 1 && g.y <= kMostBlocksYZ &&
                         g.z >= 1 && g.z <= kMostBlocksYZ;
  if (threads < 1 || threads > kBlockThreads || b.z > 64 || !grid_fits) {
    return cudaErrorInvalidConfiguration;
  }
  // Unlike a copy (CUDA C++ Programming Guide, "Stream and Event Behavior").
  if (!exists(config.stream) || device_of(config.stream) != current_device()) {
    return cudaErrorInvalidResourceHandle;
  }
  return config.dynamicSmemBytes <= allowed_shared(function) ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace

DeviceState& device() {
  static DeviceState state;
  return state;
}

int& current_device() {
  static thread_local int index = 0;
  return index;
}

void set_device(const DeviceSettings& settings) {
  device().settings = settings;
  current_device() = 0;
}
const DeviceSettings& device_settings() {
  return device().settings;
}
void set_stream_mode(StreamMode mode) {
  cudaDeviceSynchronize();
  device().stream_mode = mode;
}
void fail_allocation(int nth) {
  device().allocations_until_failure = nth;
}
void lose_device(int nth_call) {
  device().calls_until_loss = nth_call;
  device().lost = false;
}
size_t live_allocations() {
  return device().memory.n_live();
}
size_t pageable_copies() {
  return device().pageable_copies;
}

cudaError_t set_function_attribute(const void* function, cudaFuncAttribute attribute, int value) {
  return api_call([&] {
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || size_t(value) > generation().most_shared_bytes) return cudaErrorInvalidValue;
    allowed_shared()[{current_device(), function}] = size_t(value);
    return cudaSuccess;
  });
}

cudaError_t most_blocks(int* n_blocks, const void* function, int threads, size_t shared_bytes) {
  return api_call([&] {
    if (threads < 1 || threads > kBlockThreads) return cudaErrorInvalidValue;
    const Generation& g = generation();
    const size_t reserved = g.shared_bytes - g.most_shared_bytes;  // of each block
    const bool fits = shared_bytes <= allowed_shared(function);
    const int by_shared = int(g.shared_bytes / std::max<size_t>(shared_bytes + reserved, 1));
    const int by_threads = g.n_threads / 32 / ((threads + 31) / 32);
    *n_blocks = fits ? std::min({g.n_blocks, by_threads, by_shared}) : 0;
    return cudaSuccess;
  });
}

cudaError_t launch(const cudaLaunchConfig_t& config, const void* function,
                   std::function<void()> thread_body) {
  return api_call([&] {
    if (const cudaError_t error = validate(config, function)) return error;
    Kernel kernel{function, config.gridDim,        config.blockDim, config.dynamicSmemBytes,
                  false,    std::move(thread_body)};
    for (unsigned i = 0; i < config.numAttrs; ++i) {
      const cudaLaunchAttribute& a = config.attrs[i];
      if (a.id == cudaLaunchAttributeProgrammaticStreamSerialization) {
        kernel.overlaps = a.val.programmaticStreamSerializationAllowed != 0;
      }
    }
    return enqueue(config.stream, std::move(kernel));
  });
}

}  // namespace simt

using simt::api_call;
using simt::device;

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  return api_call([&] {
    *count = device().settings.n_devices;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDevice(int* index) {
  return api_call([&] {
    *index = simt::current_device();
    return cudaSuccess;
  });
}

cudaError_t cudaSetDevice(int index) {
  return api_call([&] {
    if (index < 0 || index >= device().settings.n_devices) return cudaErrorInvalidDevice;
    simt::current_device() = index;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int index) {
  return api_call([&] {
    if (index < 0 || index >= device().settings.n_devices) return cudaErrorInvalidDevice;
    *properties = simt::properties_of(device().settings);
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int index) {
  cudaDeviceProp p;
  const cudaError_t error = cudaGetDeviceProperties(&p, index);
  if (error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = p.maxThreadsPerBlock;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = int(p.sharedMemPerBlock);
      break;
    case cudaDevAttrWarpSize:
      *value = p.warpSize;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = p.multiProcessorCount;
      break;
    case cudaDevAttrIntegrated:
      *value = p.integrated;
      break;
    case cudaDevAttrL2CacheSize:
      *value = p.l2CacheSize;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = p.maxThreadsPerMultiProcessor;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = p.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = p.minor;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = int(p.sharedMemPerMultiprocessor);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = int(p.sharedMemPerBlockOptin);
      break;
  }
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {  // 0 where there is no driver, and no error
  *version = device().settings.n_devices == 0 ? 0 : 13000;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  return std::exchange(device().last_error, cudaSuccess);
}
cudaError_t cudaPeekAtLastError() {
  return device().last_error;
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define SIMT_NAME(name) \
  case name:            \
    return #name;
    SIMT_NAME(cudaSuccess)
    SIMT_NAME(cudaErrorInvalidValue)
    SIMT_NAME(cudaErrorMemoryAllocation)
    SIMT_NAME(cudaErrorInitializationError)
    SIMT_NAME(cudaErrorInvalidConfiguration)
    SIMT_NAME(cudaErrorInvalidMemcpyDirection)
    SIMT_NAME(cudaErrorInsufficientDriver)
    SIMT_NAME(cudaErrorNoDevice)
    SIMT_NAME(cudaErrorInvalidDevice)
    SIMT_NAME(cudaErrorInvalidResourceHandle)
    SIMT_NAME(cudaErrorNotReady)
    SIMT_NAME(cudaErrorIllegalAddress)
    SIMT_NAME(cudaErrorLaunchOutOfResources)
    SIMT_NAME(cudaErrorHostMemoryAlreadyRegistered)
    SIMT_NAME(cudaErrorHostMemoryNotRegistered)
    SIMT_NAME(cudaErrorLaunchFailure)
    SIMT_NAME(cudaErrorNotSupported)
    SIMT_NAME(cudaErrorStreamCaptureUnsupported)
    SIMT_NAME(cudaErrorStreamCaptureInvalidated)
    SIMT_NAME(cudaErrorGraphExecUpdateFailure)
    SIMT_NAME(cudaErrorUnknown)
#undef SIMT_NAME
  }
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  return cudaGetErrorName(error);
}
