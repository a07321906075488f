// tests/cuda/rig.h — what the tests of the CUDA backend run on: the SIMT emulation (test_cuda), or
// the device of this machine (test_cuda_device).
#pragma once
#include <memory>
#include <string_view>

#include "backends/backend.h"

namespace lm::test {

// nullptr: there is no device; use LM_CUDA.
std::unique_ptr<Backend> open_cuda();
#define LM_CUDA(variable)                                                  \
  const std::unique_ptr<::lm::Backend> variable = ::lm::test::open_cuda(); \
  if (variable == nullptr) LM_SKIP("no CUDA device")

// The orders in which the emulation runs the threads of a block, by name; a device has one.
int n_schedules();
void use_schedule(int index);

// Runs body() under each schedule: a missing barrier shows as a difference between them.
template <class Body>
void for_each_schedule(const Body& body) {
  for (int i = 0; i < n_schedules(); ++i) {
    use_schedule(i);
    body();
  }
  use_schedule(0);
}

// Kinds of devices that have kernels of their own, for the backends that are opened afterwards.
int n_device_kinds();
void use_device_kind(int index);

template <class Body>
void for_each_device_kind(const Body& body) {
  for (int i = 0; i < n_device_kinds(); ++i) {
    use_device_kind(i);
    body();
  }
  use_device_kind(0);
}

}  // namespace lm::test
