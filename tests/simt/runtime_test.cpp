// The runtime API: launches, memory, streams that are late, events, graphs, kernels that start
// early, and faults.
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "backends/cuda/ptx.cuh"
#include "tests/simt/run_kernel.h"
#include "tests/support/support.h"

namespace {

using simt::run_kernel;

struct AddOne {
  int* numbers;
  int n;
};

__global__ void add_one(AddOne params) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < params.n) params.numbers[i] += 1;
}

__global__ void nothing() {}

__global__ void doubles(int* numbers, int n) {
  lm::cuda::wait_for_previous_kernel();
  if (int(threadIdx.x) < n) numbers[threadIdx.x] *= 2;
}

__global__ void doubles_too_early(int* numbers, int n) {
  const int x = int(threadIdx.x) < n ? numbers[threadIdx.x] : 0;
  lm::cuda::wait_for_previous_kernel();
  if (int(threadIdx.x) < n) numbers[threadIdx.x] = 2 * x;
}

__global__ void never_waits(int* numbers) {
  numbers[threadIdx.x] = 0;
}

template <class... Params, class... Args>
cudaError_t start(cudaStream_t stream, bool overlaps, void (*kernel)(Params...), Args... args) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = overlaps ? 1 : 0;
  cudaLaunchConfig_t config = {};
  config.blockDim = 32;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, Params(args)...);
}

// A stream, device memory and pinned memory of `n` ints; all given back at the end.
struct Bench {
  explicit Bench(size_t n) {
    REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    REQUIRE(cudaMalloc(&memory, n * sizeof(int)) == cudaSuccess);
    REQUIRE(cudaMallocHost(&pinned, n * sizeof(int)) == cudaSuccess);
    bytes = n * sizeof(int);
  }
  ~Bench() {
    simt::set_stream_mode(simt::StreamMode::eager);
    cudaStreamDestroy(stream);
    cudaFree(memory);
    cudaFreeHost(pinned);
    CHECK(simt::live_allocations() == 0);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  cudaStream_t stream = nullptr;
  int* memory = nullptr;
  int* pinned = nullptr;
  size_t bytes = 0;
};

constexpr auto kUp = cudaMemcpyHostToDevice;
constexpr auto kDown = cudaMemcpyDeviceToHost;

}  // namespace

TEST_CASE("launches beyond the device's limits are refused") {
  CHECK(run_kernel(1, 1025, 0, nothing) == cudaErrorInvalidConfiguration);
  CHECK(run_kernel(1, {32, 32, 2}, 0, nothing) == cudaErrorInvalidConfiguration);
  CHECK(run_kernel(1, {1, 1, 65}, 0, nothing) == cudaErrorInvalidConfiguration);
  CHECK(run_kernel(0, 1, 0, nothing) == cudaErrorInvalidConfiguration);
  CHECK(run_kernel({1, 65536}, 1, 0, nothing) == cudaErrorInvalidConfiguration);
  CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
  CHECK(cudaGetLastError() == cudaSuccess);
  CHECK(run_kernel(1, 1, 48 * 1024 + 1, nothing) == cudaErrorInvalidValue);
  constexpr auto kShared = cudaFuncAttributeMaxDynamicSharedMemorySize;
  CHECK(cudaFuncSetAttribute(nothing, kShared, 228 * 1024) == cudaErrorInvalidValue);
  CHECK(cudaFuncSetAttribute(nothing, kShared, 64 * 1024) == cudaSuccess);
  CHECK(run_kernel(1, 1, 64 * 1024, nothing) == cudaSuccess);
  CHECK(run_kernel(1, 1, 64 * 1024 + 1, nothing) == cudaErrorInvalidValue);
  int n_blocks = 0;
  CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&n_blocks, nothing, 256, 0) == cudaSuccess);
  CHECK(n_blocks == 8);
  CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&n_blocks, nothing, 32, 60 * 1024) ==
        cudaSuccess);
  CHECK(n_blocks == 3);
}

TEST_CASE("limits are those of the device's generation") {
  constexpr auto kShared = cudaFuncAttributeMaxDynamicSharedMemorySize;
  struct Expected {
    int compute_capability, most_kib, n_blocks;
  };
  for (const Expected e : {Expected{75, 64, 4}, {80, 163, 8}, {89, 99, 6}, {90, 227, 8}}) {
    CAPTURE(e.compute_capability);
    simt::DeviceSettings settings;
    settings.compute_capability = e.compute_capability;
    simt::set_device(settings);
    CHECK(cudaFuncSetAttribute(nothing, kShared, e.most_kib * 1024) == cudaSuccess);
    CHECK(cudaFuncSetAttribute(nothing, kShared, e.most_kib * 1024 + 1) == cudaErrorInvalidValue);
    int n_blocks = 0;
    CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&n_blocks, nothing, 256, 1024) ==
          cudaSuccess);
    CHECK(n_blocks == e.n_blocks);
  }
  simt::set_device({});
}

TEST_CASE("memory is poison, has bounds, and knows on which side it is") {
  Bench bench(100);
  std::vector<int> host(100);
  REQUIRE(cudaMemcpy(host.data(), bench.memory, bench.bytes, kDown) == cudaSuccess);
  for (const int x : host) CHECK(x == -1);
  CHECK(cudaMemcpy(bench.memory, host.data(), bench.bytes, kDown) ==
        cudaErrorInvalidMemcpyDirection);
  CHECK(cudaMemcpy(host.data(), bench.memory + 1, bench.bytes, kDown) == cudaErrorInvalidValue);
  CHECK(cudaMemset(host.data(), 0, 4) == cudaErrorInvalidValue);
  CHECK(cudaFree(bench.memory + 1) == cudaErrorInvalidValue);
  CHECK(cudaFree(bench.pinned) == cudaErrorInvalidValue);
  CHECK(cudaFree(nullptr) == cudaSuccess);
  size_t free = 0, total = 0;
  REQUIRE(cudaMemGetInfo(&free, &total) == cudaSuccess);
  CHECK(total - free == bench.bytes);
  void* huge = nullptr;
  CHECK(cudaMalloc(&huge, total) == cudaErrorMemoryAllocation);
  CHECK(huge == nullptr);
}

TEST_CASE("a byte behind an allocation is reported when it is freed") {
  if (lm::test::kSanitized) LM_SKIP("AddressSanitizer ends the program there");
  const simt::ErrorCollector errors;
  char* memory = nullptr;
  REQUIRE(cudaMalloc(&memory, 10) == cudaSuccess);
  memory[10] = 0;
  CHECK(cudaFree(memory) == cudaSuccess);
  CHECK(errors.has("wrote behind an allocation of 10 bytes"));
}

TEST_CASE("a late stream does nothing before somebody waits") {
  Bench bench(8);
  simt::set_stream_mode(simt::StreamMode::late);
  std::array<int, 8> host;
  host.fill(5);
  REQUIRE(cudaMemcpyAsync(bench.memory, host.data(), bench.bytes, kUp, bench.stream) ==
          cudaSuccess);
  host.fill(9);  // pageable: it has been read
  REQUIRE(start(bench.stream, false, add_one, AddOne{bench.memory, 8}) == cudaSuccess);
  std::memset(bench.pinned, 0, bench.bytes);
  REQUIRE(cudaMemcpyAsync(bench.pinned, bench.memory, bench.bytes, kDown, bench.stream) ==
          cudaSuccess);
  CHECK(bench.pinned[3] == 0);
  CHECK(cudaStreamQuery(bench.stream) == cudaErrorNotReady);
  REQUIRE(cudaStreamSynchronize(bench.stream) == cudaSuccess);
  CHECK(bench.pinned[3] == 6);
  CHECK(cudaStreamQuery(bench.stream) == cudaSuccess);

  bench.pinned[0] = 1;  // pinned: it is read when the stream gets there
  REQUIRE(cudaMemcpyAsync(bench.memory, bench.pinned, 4, kUp, bench.stream) == cudaSuccess);
  bench.pinned[0] = 2;
  REQUIRE(cudaMemcpyAsync(host.data(), bench.memory, 4, kDown, bench.stream) == cudaSuccess);
  CHECK(host[0] == 2);  // to pageable memory: the call waits
}

TEST_CASE("events order streams and tell the host") {
  Bench bench(4);
  simt::set_stream_mode(simt::StreamMode::late);
  cudaStream_t other = nullptr;
  cudaEvent_t event = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking) == cudaSuccess);
  REQUIRE(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
  CHECK(cudaEventQuery(event) == cudaSuccess);  // never recorded
  REQUIRE(cudaMemsetAsync(bench.memory, 0, bench.bytes, bench.stream) == cudaSuccess);
  REQUIRE(start(bench.stream, false, add_one, AddOne{bench.memory, 4}) == cudaSuccess);
  REQUIRE(cudaEventRecord(event, bench.stream) == cudaSuccess);
  REQUIRE(start(bench.stream, false, add_one, AddOne{bench.memory, 4}) == cudaSuccess);
  REQUIRE(cudaStreamWaitEvent(other, event) == cudaSuccess);
  REQUIRE(cudaMemcpyAsync(bench.pinned, bench.memory, bench.bytes, kDown, other) == cudaSuccess);
  REQUIRE(cudaStreamSynchronize(other) == cudaSuccess);
  CHECK(bench.pinned[0] == 1);  // what comes behind the event need not be done
  CHECK(cudaEventQuery(event) == cudaSuccess);

  REQUIRE(cudaEventRecord(event, bench.stream) == cudaSuccess);
  int n_asked = 0;
  while (cudaEventQuery(event) == cudaErrorNotReady) ++n_asked;
  CHECK(n_asked > 0);
  REQUIRE(cudaMemcpyAsync(bench.pinned, bench.memory, bench.bytes, kDown, other) == cudaSuccess);
  REQUIRE(cudaEventRecord(event, other) == cudaSuccess);
  REQUIRE(cudaEventSynchronize(event) == cudaSuccess);
  CHECK(bench.pinned[0] == 2);
  CHECK(cudaEventDestroy(event) == cudaSuccess);
  CHECK(cudaStreamDestroy(other) == cudaSuccess);
}

TEST_CASE("a recorded step is replayed with the same arguments on new data") {
  for (const auto mode : {simt::StreamMode::eager, simt::StreamMode::late}) {
    Bench bench(4);
    simt::set_stream_mode(mode);
    REQUIRE(cudaMemsetAsync(bench.memory, 0, bench.bytes, bench.stream) == cudaSuccess);
    REQUIRE(cudaStreamBeginCapture(bench.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    AddOne params = {bench.memory, 3};
    REQUIRE(start(bench.stream, false, add_one, params) == cudaSuccess);
    params.n = 0;
    REQUIRE(cudaMemcpyAsync(bench.pinned, bench.memory, bench.bytes, kDown, bench.stream) ==
            cudaSuccess);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    REQUIRE(cudaStreamEndCapture(bench.stream, &graph) == cudaSuccess);
    REQUIRE(cudaGraphInstantiate(&exec, graph) == cudaSuccess);
    REQUIRE(cudaGraphDestroy(graph) == cudaSuccess);
    std::memset(bench.pinned, 0, bench.bytes);
    for (int replay = 1; replay <= 3; ++replay) {
      REQUIRE(cudaGraphLaunch(exec, bench.stream) == cudaSuccess);
      REQUIRE(cudaStreamSynchronize(bench.stream) == cudaSuccess);
      CHECK(bench.pinned[2] == replay);
      CHECK(bench.pinned[3] == 0);
    }
    // The same kernels with other arguments.
    REQUIRE(cudaStreamBeginCapture(bench.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    REQUIRE(start(bench.stream, false, add_one, AddOne{bench.memory, 4}) == cudaSuccess);
    REQUIRE(cudaMemcpyAsync(bench.pinned, bench.memory, bench.bytes, kDown, bench.stream) ==
            cudaSuccess);
    REQUIRE(cudaStreamEndCapture(bench.stream, &graph) == cudaSuccess);
    REQUIRE(cudaGraphExecUpdate(exec, graph, nullptr) == cudaSuccess);
    REQUIRE(cudaGraphDestroy(graph) == cudaSuccess);
    REQUIRE(cudaGraphLaunch(exec, bench.stream) == cudaSuccess);
    REQUIRE(cudaStreamSynchronize(bench.stream) == cudaSuccess);
    CHECK(bench.pinned[3] == 1);
    REQUIRE(cudaGraphExecDestroy(exec) == cudaSuccess);
  }
}

TEST_CASE("who waits or allocates in a recording spoils it") {
  Bench bench(4);
  cudaGraph_t graph = nullptr;
  void* memory = nullptr;
  for (int spoiler = 0; spoiler < 4; ++spoiler) {
    REQUIRE(cudaStreamBeginCapture(bench.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    const cudaError_t refused = spoiler == 0   ? cudaStreamSynchronize(bench.stream)
                                : spoiler == 1 ? cudaMalloc(&memory, 4)
                                : spoiler == 2 ? cudaMemset(bench.memory, 0, 4)
                                               : cudaDeviceSynchronize();
    CHECK(refused == cudaErrorStreamCaptureUnsupported);
    CHECK(cudaStreamEndCapture(bench.stream, &graph) == cudaErrorStreamCaptureInvalidated);
    CHECK(graph == nullptr);
  }
  CHECK(cudaStreamSynchronize(bench.stream) == cudaSuccess);
}

TEST_CASE("a kernel that starts early sees the one in front only when it has waited") {
  simt::for_each_schedule([] {
    for (const bool overlaps : {false, true}) {
      for (const bool too_early : {false, true}) {
        Bench bench(32);
        REQUIRE(cudaMemset(bench.memory, 0, bench.bytes) == cudaSuccess);
        REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
        REQUIRE(start(bench.stream, false, add_one, AddOne{bench.memory, 32}) == cudaSuccess);
        for (int i = 0; i < 3; ++i) {
          REQUIRE(start(bench.stream, overlaps, too_early ? doubles_too_early : doubles,
                        bench.memory, 32) == cudaSuccess);
        }
        REQUIRE(cudaStreamSynchronize(bench.stream) == cudaSuccess);
        REQUIRE(cudaMemcpy(bench.pinned, bench.memory, bench.bytes, kDown) == cudaSuccess);
        for (int i = 0; i < 32; ++i) {
          CHECK((bench.pinned[i] == 8) == (!overlaps || !too_early));
        }
      }
    }
  });
}

TEST_CASE("a kernel that may start early has to wait for the one in front") {
  Bench bench(32);
  const simt::ErrorCollector errors;
  (void)start(bench.stream, true, never_waits, bench.memory);
  CHECK(cudaStreamSynchronize(bench.stream) == cudaErrorLaunchFailure);
  CHECK(errors.has("may start early but never waits"));
}

TEST_CASE("faults: memory that runs out, a device that is missing or lost") {
  void* memory = nullptr;
  void* second = nullptr;
  simt::fail_allocation(2);
  CHECK(cudaMalloc(&memory, 16) == cudaSuccess);
  CHECK(cudaMallocHost(&second, 16) == cudaErrorMemoryAllocation);
  CHECK(cudaMallocHost(&second, 16) == cudaSuccess);
  CHECK(cudaFreeHost(second) == cudaSuccess);

  simt::lose_device(2);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaErrorUnknown);
  CHECK(run_kernel(1, 1, 0, nothing) == cudaErrorUnknown);
  CHECK(cudaFree(memory) == cudaErrorUnknown);
  simt::lose_device(0);
  CHECK(cudaFree(memory) == cudaSuccess);

  simt::DeviceSettings settings = simt::device_settings();
  simt::DeviceSettings none = settings;
  none.n_devices = 0;
  simt::set_device(none);
  int n = 7;
  CHECK(cudaGetDeviceCount(&n) == cudaErrorInsufficientDriver);
  CHECK(n == 0);
  CHECK(cudaMalloc(&memory, 16) == cudaErrorInsufficientDriver);
  CHECK(std::string(cudaGetErrorName(cudaGetLastError())) == "cudaErrorInsufficientDriver");
  settings.compute_capability = 75;
  simt::set_device(settings);
  cudaDeviceProp properties = {};
  REQUIRE(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
  CHECK(properties.major == 7);
  CHECK(properties.minor == 5);
  CHECK(std::string(properties.name) == "emulated");
  simt::set_device({});
}
