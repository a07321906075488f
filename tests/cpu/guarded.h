// tests/cpu/guarded.h — a tensor in a backend's memory with guard zones before, after and between
// its rows: written and read through the Backend interface alone, so that one test serves the CPU,
// the emulation and a device.
#pragma once
#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include "backends/backend.h"
#include "tests/support/support.h"

namespace lm::test {

class Guarded {
 public:
  static constexpr std::byte kGuardByte{0xA5};

  // Every byte is the guard's. Rows of f32 get a gap, unless `together`; others lie together, as
  // the cache's layout demands.
  Guarded(Backend& backend, std::array<int64_t, 4> shape, DType dtype = DType::f32,
          bool together = false);
  template <class T>
  Guarded(Backend& backend, std::array<int64_t, 4> shape, const std::vector<T>& values,
          bool together = false)
      : Guarded(backend, shape, std::is_same_v<T, float> ? DType::f32 : DType::i32, together) {
    set(values);
  }

  operator Tensor() const { return tensor_; }  // NOLINT(google-explicit-constructor)
  Tensor tensor() const { return tensor_; }

  // The rows without what lies between them, as numbers of T.
  template <class T>
  void set(const std::vector<T>& values) {
    set_rows(std::as_bytes(std::span(values)));
  }
  template <class T>
  std::vector<T> get() const {
    std::vector<T> values(size_t(tensor_.rows()) * row_bytes_ / sizeof(T));
    get_rows(std::as_writable_bytes(std::span(values)));
    return values;
  }
  std::vector<float> floats() const { return get<float>(); }
  std::vector<int32_t> ints() const { return get<int32_t>(); }

  bool guards_intact() const;

 private:
  void set_rows(std::span<const std::byte> rows);
  void get_rows(std::span<std::byte> rows) const;
  Tensor whole() const;                  // with its guards
  std::vector<std::byte> bytes() const;  // of whole()
  size_t place(int64_t row) const;       // of a row in bytes()

  std::unique_ptr<Buffer> buffer_;
  Tensor tensor_;
  size_t row_bytes_ = 0;
};

}  // namespace lm::test
