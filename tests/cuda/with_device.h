// tests/cuda/with_device.h — the emulation as another device, and as it was after the test.
#pragma once
#include "tests/simt/simt.h"

namespace lm::test {

class WithDevice {
 public:
  explicit WithDevice(const simt::DeviceSettings& settings) : before_(simt::device_settings()) {
    simt::set_device(settings);
  }
  ~WithDevice() { simt::set_device(before_); }
  WithDevice(const WithDevice&) = delete;
  WithDevice& operator=(const WithDevice&) = delete;

 private:
  simt::DeviceSettings before_;
};

}  // namespace lm::test
