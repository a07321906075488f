#include "tests/cpu/guarded.h"

#include <algorithm>

namespace lm::test {
namespace {

constexpr size_t kGuard = 64;  // bytes

}  // namespace

Guarded::Guarded(Backend& backend, std::array<int64_t, 4> shape, DType dtype, bool together)
    : row_bytes_(row_bytes(dtype, shape[3])) {
  tensor_.dtype = dtype;
  tensor_.shape = shape;
  tensor_.offset = kGuard;
  const bool gap = dtype == DType::f32 && shape[0] * shape[1] == 1 && !together;
  tensor_.row_bytes = int64_t(row_bytes_ + (gap ? kGuard : 0));
  const size_t bytes = 2 * kGuard + size_t(tensor_.rows() * tensor_.row_bytes);
  buffer_ = require_ok(backend.alloc(bytes));
  tensor_.buffer = buffer_.get();
  backend.upload(whole(), std::vector<std::byte>(bytes, kGuardByte));
}

void Guarded::set_rows(std::span<const std::byte> rows) {
  REQUIRE(rows.size() == size_t(tensor_.rows()) * row_bytes_);
  std::vector<std::byte> image = bytes();
  for (int64_t row = 0; row < tensor_.rows(); ++row) {
    std::memcpy(image.data() + place(row), rows.data() + size_t(row) * row_bytes_, row_bytes_);
  }
  tensor_.room().upload(whole(), image);
}

void Guarded::get_rows(std::span<std::byte> rows) const {
  const std::vector<std::byte> image = bytes();
  for (int64_t row = 0; row < tensor_.rows(); ++row) {
    std::memcpy(rows.data() + size_t(row) * row_bytes_, image.data() + place(row), row_bytes_);
  }
}

bool Guarded::guards_intact() const {
  const std::vector<std::byte> image = bytes();
  const auto intact = [&](size_t first, size_t n) {
    const auto from = image.begin() + ptrdiff_t(first);
    return std::all_of(from, from + ptrdiff_t(n), [](std::byte b) { return b == kGuardByte; });
  };
  bool good = intact(0, kGuard) && intact(image.size() - kGuard, kGuard);
  for (int64_t row = 0; row < tensor_.rows(); ++row) {
    good = good && intact(place(row) + row_bytes_, size_t(tensor_.row_bytes) - row_bytes_);
  }
  return good;
}

Tensor Guarded::whole() const {
  Tensor all;
  all.buffer = buffer_.get();
  all.dtype = DType::i8;
  all.shape = {1, 1, 1, int64_t(buffer_->bytes())};
  all.row_bytes = int64_t(buffer_->bytes());
  return all;
}

std::vector<std::byte> Guarded::bytes() const {
  std::vector<std::byte> image(buffer_->bytes());
  tensor_.room().download(image, whole());
  return image;
}

size_t Guarded::place(int64_t row) const {
  return kGuard + size_t(row * tensor_.row_bytes);
}

}  // namespace lm::test
