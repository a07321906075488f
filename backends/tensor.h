// backends/tensor.h — a tensor is a typed window on a buffer. It owns nothing.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "quant/dtype.h"

namespace lm {

class Backend;

// Memory in one backend's room; freed with the object.
class Buffer {
 public:
  virtual ~Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  Backend& backend() const { return *backend_; }
  std::byte* base() const { return base_; }  // host or device address
  size_t bytes() const { return bytes_; }

 protected:
  Buffer(Backend& backend, std::byte* base, size_t bytes)
      : backend_(&backend), base_(base), bytes_(bytes) {}

 private:
  Backend* backend_;
  std::byte* base_;
  size_t bytes_;
};

struct Tensor {  // trivially copyable: pass by value
  Buffer* buffer = nullptr;
  uint64_t offset = 0;  // bytes from buffer->base()
  DType dtype = DType::f32;
  uint8_t layout = 0;  // 0: rows as in the file; others: a weight repacked by its backend
  std::array<int64_t, 4> shape{1, 1, 1,
                               1};  // row-major [.., rows, cols]; unused leading dims are 1
  int64_t row_bytes = 0;  // distance between rows; >= lm::row_bytes(dtype, cols); layout 0 only

  explicit operator bool() const {
    return buffer != nullptr;
  }  // optional weights are empty Tensors
  int64_t cols() const { return shape[3]; }
  int64_t rows() const { return shape[0] * shape[1] * shape[2]; }
  Backend& room() const { return buffer->backend(); }
  std::byte* data() const { return buffer->base() + offset; }  // valid only for the room's own code
};

// The first n rows of `t`, or rows [first, first + n).
Tensor first_rows(Tensor t, int64_t n);
Tensor row_range(Tensor t, int64_t first, int64_t n);
// The same contiguous bytes seen as [rows, cols].
Tensor reshaped(Tensor t, int64_t rows, int64_t cols);

}  // namespace lm
