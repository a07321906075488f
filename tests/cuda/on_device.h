// tests/cuda/on_device.h — tensors in the memory of any backend, between guard zones: written and
// read through the Backend interface alone, so that one test serves the CPU, the emulation and a
// device.
#pragma once
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "backends/backend.h"
#include "tests/support/support.h"

namespace lm::test {

class OnDevice {
 public:
  // Every byte is the guard's. Rows of f32 get a gap, unless `together`.
  OnDevice(Backend& backend, std::array<int64_t, 4> shape, DType dtype = DType::f32,
           bool together = false)
      : backend_(backend), row_bytes_(row_bytes(dtype, shape[3])) {
    tensor_.dtype = dtype;
    tensor_.shape = shape;
    tensor_.offset = kGuard;
    const bool gap = dtype == DType::f32 && shape[0] * shape[1] == 1 && !together;
    tensor_.row_bytes = int64_t(row_bytes_ + (gap ? kGuard : 0));
    host_.assign(2 * kGuard + size_t(tensor_.rows() * tensor_.row_bytes), kGuardByte);
    buffer_ = require_ok(backend.alloc(host_.size()));
    tensor_.buffer = buffer_.get();
    send();
  }
  template <class T>
  OnDevice(Backend& backend, std::array<int64_t, 4> shape, const std::vector<T>& values,
           bool together = false)
      : OnDevice(backend, shape, std::is_same_v<T, float> ? DType::f32 : DType::i32, together) {
    set(values);
  }

  operator Tensor() const { return tensor_; }  // NOLINT(google-explicit-constructor)
  Tensor tensor() const { return tensor_; }

  template <class T>
  void set(const std::vector<T>& values) {
    REQUIRE(values.size() * sizeof(T) == size_t(tensor_.rows()) * row_bytes_);
    for (int64_t row = 0; row < tensor_.rows(); ++row) {
      std::memcpy(host_row(row), bytes_of(values) + size_t(row) * row_bytes_, row_bytes_);
    }
    send();
  }
  template <class T>
  std::vector<T> get() {
    receive();
    std::vector<T> values(size_t(tensor_.rows()) * row_bytes_ / sizeof(T));
    std::byte* to = reinterpret_cast<std::byte*>(values.data());
    for (int64_t row = 0; row < tensor_.rows(); ++row) {
      std::memcpy(to + size_t(row) * row_bytes_, host_row(row), row_bytes_);
    }
    return values;
  }
  std::vector<float> floats() { return get<float>(); }
  std::vector<int32_t> ints() { return get<int32_t>(); }

  bool guards_intact() {
    receive();
    const auto intact = [](const std::byte* p, size_t n) {
      return std::all_of(p, p + n, [](std::byte b) { return b == kGuardByte; });
    };
    bool good =
        intact(host_.data(), kGuard) && intact(host_.data() + host_.size() - kGuard, kGuard);
    for (int64_t row = 0; row < tensor_.rows(); ++row) {
      good = good && intact(host_row(row) + row_bytes_, size_t(tensor_.row_bytes) - row_bytes_);
    }
    return good;
  }

  static constexpr std::byte kGuardByte{0xA5};

 private:
  static constexpr size_t kGuard = 64;  // bytes

  template <class T>
  static const std::byte* bytes_of(const std::vector<T>& values) {
    return reinterpret_cast<const std::byte*>(values.data());
  }
  std::byte* host_row(int64_t row) { return host_.data() + kGuard + row * tensor_.row_bytes; }
  Tensor all() const {
    Tensor t;
    t.buffer = buffer_.get();
    t.dtype = DType::i8;
    t.shape = {1, 1, 1, int64_t(host_.size())};
    t.row_bytes = int64_t(host_.size());
    return t;
  }
  void send() { backend_.upload(all(), host_); }
  void receive() { backend_.download(host_, all()); }

  Backend& backend_;
  std::unique_ptr<Buffer> buffer_;
  std::vector<std::byte> host_;
  Tensor tensor_;
  size_t row_bytes_;
};

}  // namespace lm::test
