// Several devices: each thread has a current one, and what belongs to another is refused as the
// CUDA runtime refuses it (CUDA C++ Programming Guide, "Multi-Device System").
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <cstring>
#include <thread>

#include "tests/simt/run_kernel.h"
#include "tests/simt/simt.h"

namespace {

__global__ void set_to(int* number, int x) {
  *number = x;
}
__global__ void nothing() {}

struct TwoDevices {
  TwoDevices() {
    simt::DeviceSettings settings = before;
    settings.n_devices = 2;
    settings.memory_bytes = 1 << 20;
    simt::set_device(settings);
    for (int i = 0; i < 2; ++i) {
      REQUIRE(cudaSetDevice(i) == cudaSuccess);
      REQUIRE(cudaStreamCreateWithFlags(&streams[i], cudaStreamNonBlocking) == cudaSuccess);
      REQUIRE(cudaEventCreate(&events[i]) == cudaSuccess);
      REQUIRE(cudaMalloc(&memory[i], sizeof(int)) == cudaSuccess);
    }
    REQUIRE(cudaSetDevice(0) == cudaSuccess);
  }
  ~TwoDevices() {
    for (int i = 0; i < 2; ++i) {
      CHECK(cudaStreamDestroy(streams[i]) == cudaSuccess);
      CHECK(cudaEventDestroy(events[i]) == cudaSuccess);
      CHECK(cudaFree(memory[i]) == cudaSuccess);
    }
    simt::set_device(before);
    CHECK(simt::live_allocations() == 0);
  }
  TwoDevices(const TwoDevices&) = delete;
  TwoDevices& operator=(const TwoDevices&) = delete;

  simt::DeviceSettings before = simt::device_settings();
  cudaStream_t streams[2];
  cudaEvent_t events[2];
  int* memory[2];
};

cudaError_t start(cudaStream_t stream, int* number, int x) {
  cudaLaunchConfig_t config = {};
  config.stream = stream;
  return cudaLaunchKernelEx(&config, set_to, number, x);
}

int current() {
  int index = -1;
  CHECK(cudaGetDevice(&index) == cudaSuccess);
  return index;
}

}  // namespace

TEST_CASE("devices: the current one is the thread's") {
  const TwoDevices two;
  CHECK(cudaSetDevice(2) == cudaErrorInvalidDevice);
  CHECK(cudaSetDevice(1) == cudaSuccess);
  std::thread([] { CHECK(current() == 0); }).join();
  CHECK(current() == 1);
}

TEST_CASE("devices: kernels of another device's stream are refused, copies and waits are not") {
  const TwoDevices two;
  for (int device = 0; device < 2; ++device) {
    REQUIRE(cudaSetDevice(device) == cudaSuccess);
    const int other = 1 - device;
    CHECK(start(two.streams[device], two.memory[device], 10 + device) == cudaSuccess);
    CHECK(start(two.streams[other], two.memory[other], 0) == cudaErrorInvalidResourceHandle);
    int number = 0;
    CHECK(cudaMemcpyAsync(&number, two.memory[device], sizeof number, cudaMemcpyDeviceToHost,
                          two.streams[device]) == cudaSuccess);
    CHECK(cudaStreamSynchronize(two.streams[device]) == cudaSuccess);
    CHECK(number == 10 + device);
    number = 20 + device;
    CHECK(cudaMemcpyAsync(two.memory[other], &number, sizeof number, cudaMemcpyHostToDevice,
                          two.streams[other]) == cudaSuccess);
    CHECK(cudaStreamSynchronize(two.streams[other]) == cudaSuccess);
  }
}

TEST_CASE("devices: events belong to one, and order streams of both") {
  const TwoDevices two;
  CHECK(cudaEventRecord(two.events[0], two.streams[0]) == cudaSuccess);
  CHECK(cudaEventRecord(two.events[1], two.streams[0]) == cudaErrorInvalidResourceHandle);
  CHECK(cudaEventRecord(two.events[1]) == cudaErrorInvalidResourceHandle);  // of the current one
  CHECK(cudaEventRecord(two.events[1], two.streams[1]) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(two.streams[1], two.events[0]) == cudaSuccess);
  CHECK(cudaEventSynchronize(two.events[1]) == cudaSuccess);
  CHECK(cudaEventSynchronize(two.events[0]) == cudaSuccess);
  float ms = 0;
  CHECK(cudaEventElapsedTime(&ms, two.events[0], two.events[1]) == cudaErrorInvalidResourceHandle);
}

TEST_CASE("devices: each has its memory, and clears no other's") {
  const TwoDevices two;
  size_t free = 0, total = 0;
  for (int device = 0; device < 2; ++device) {
    REQUIRE(cudaSetDevice(device) == cudaSuccess);
    REQUIRE(cudaMemGetInfo(&free, &total) == cudaSuccess);
    CHECK(total - free == sizeof(int));
    CHECK(cudaMemset(two.memory[device], 0, sizeof(int)) == cudaSuccess);
    CHECK(cudaMemset(two.memory[1 - device], 0, sizeof(int)) == cudaErrorInvalidValue);
    CHECK(cudaMemsetAsync(two.memory[1 - device], 0, sizeof(int), two.streams[device]) ==
          cudaErrorInvalidValue);
    void* half = nullptr;
    CHECK(cudaMalloc(&half, total - total / 4) == cudaSuccess);  // there is room for it on either
    CHECK(cudaSetDevice(1 - device) == cudaSuccess);
    CHECK(cudaFree(half) == cudaSuccess);
  }
}

TEST_CASE("devices: what a kernel may use is set for each") {
  const TwoDevices two;
  constexpr auto kShared = cudaFuncAttributeMaxDynamicSharedMemorySize;
  REQUIRE(cudaSetDevice(1) == cudaSuccess);
  REQUIRE(cudaFuncSetAttribute(nothing, kShared, 60 * 1024) == cudaSuccess);
  CHECK(simt::run_kernel(1, 1, 60 * 1024, nothing) == cudaSuccess);
  REQUIRE(cudaSetDevice(0) == cudaSuccess);
  CHECK(simt::run_kernel(1, 1, 60 * 1024, nothing) == cudaErrorInvalidValue);
}
