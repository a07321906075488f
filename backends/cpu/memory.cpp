#include "backends/cpu/memory.h"

#include <sys/mman.h>

#include <string>
#include <utility>

#include "engine/core/checked.h"
#include "engine/core/text.h"

namespace lm::cpu {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

class PageBuffer final : public Buffer {
 public:
  PageBuffer(Backend& backend, Pages pages, size_t bytes)
      : Buffer(backend, pages.base(), bytes), pages_(std::move(pages)) {}

 private:
  Pages pages_;
};

class BorrowedBuffer final : public Buffer {
 public:
  BorrowedBuffer(Backend& backend, std::span<const std::byte> bytes)
      : Buffer(backend, const_cast<std::byte*>(bytes.data()), bytes.size()) {}
};

}  // namespace

Result<Pages> Pages::map(size_t bytes) {
  if (bytes == 0) return Pages();
  const std::optional<uint64_t> rounded =
      checked_align(bytes, bytes < kHugePage ? 4096 : kHugePage);
  void* base = MAP_FAILED;
  if (rounded) {
    base = mmap(nullptr, *rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  if (base == MAP_FAILED) {
    return Error{ErrorCode::out_of_memory,
                 concat("the system refused ", std::to_string(bytes), " bytes of memory")};
  }
  // Only a hint: without huge pages the same memory is merely slower.
  if (*rounded >= kHugePage) madvise(base, *rounded, MADV_HUGEPAGE);
  return Pages(static_cast<std::byte*>(base), *rounded);
}

Pages::Pages(Pages&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Pages& Pages::operator=(Pages&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Pages::~Pages() {
  if (base_ != nullptr) munmap(base_, bytes_);
}

Result<std::unique_ptr<Buffer>> allocate_buffer(Backend& backend, size_t bytes) {
  Pages pages = LM_TRY(Pages::map(bytes));
  return std::unique_ptr<Buffer>(std::make_unique<PageBuffer>(backend, std::move(pages), bytes));
}

std::unique_ptr<Buffer> borrow_buffer(Backend& backend, std::span<const std::byte> bytes) {
  return std::make_unique<BorrowedBuffer>(backend, bytes);
}

}  // namespace lm::cpu
