// backends/cpu/memory.h — pages from the operating system: zero on first touch, huge where offered.
#pragma once
#include <cstddef>
#include <memory>
#include <span>

#include "backends/tensor.h"
#include "engine/core/result.h"

namespace lm::cpu {

// Anonymous memory, unmapped with the object.
class Pages {
 public:
  static Result<Pages> map(size_t bytes);  // 0 bytes: an empty object
  Pages() = default;
  Pages(Pages&& other) noexcept;
  Pages& operator=(Pages&& other) noexcept;
  ~Pages();

  std::byte* base() const { return base_; }
  size_t bytes() const { return bytes_; }

 private:
  Pages(std::byte* base, size_t bytes) : base_(base), bytes_(bytes) {}
  std::byte* base_ = nullptr;
  size_t bytes_ = 0;
};

// Buffers that share large mappings: a huge page that each began for itself would stay half empty.
class SharedPages {
 public:
  Result<std::unique_ptr<Buffer>> take(Backend& backend, size_t bytes);

 private:
  std::shared_ptr<const Pages> chunk_;  // the last one; buffers keep what they lie in
  size_t used_ = 0;
};

// A buffer that owns pages.
Result<std::unique_ptr<Buffer>> allocate_buffer(Backend& backend, size_t bytes);
// A buffer over memory that somebody else keeps alive and that is only read.
std::unique_ptr<Buffer> borrow_buffer(Backend& backend, std::span<const std::byte> bytes);

}  // namespace lm::cpu
