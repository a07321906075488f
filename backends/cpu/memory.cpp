#include "backends/cpu/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "engine/core/checked.h"
#include "engine/core/text.h"

namespace lm::cpu {
namespace {

constexpr size_t kPage = size_t{64} << 10;  // a multiple of every processor's page size
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kChunk = size_t{64} << 20;  // untouched, it costs addresses alone
constexpr size_t kAlignment = 4096;          // of buffers in a chunk

class PageBuffer final : public Buffer {
 public:
  PageBuffer(Backend& backend, Pages pages, size_t bytes)
      : Buffer(backend, pages.base(), bytes), pages_(std::move(pages)) {}

 private:
  Pages pages_;
};

class SharedBuffer final : public Buffer {
 public:
  SharedBuffer(Backend& backend, std::shared_ptr<const Pages> chunk, size_t first, size_t bytes)
      : Buffer(backend, chunk->base() + first, bytes), chunk_(std::move(chunk)) {}

 private:
  std::shared_ptr<const Pages> chunk_;
};

class BorrowedBuffer final : public Buffer {
 public:
  BorrowedBuffer(Backend& backend, std::span<const std::byte> bytes)
      : Buffer(backend, const_cast<std::byte*>(bytes.data()), bytes.size()) {}
};

// Maps more than asked for and gives back what lies outside the aligned part: a huge page starts
// at a multiple of its size.
std::byte* map_aligned(size_t bytes, size_t alignment) {
  const std::optional<uint64_t> total = checked_add(bytes, alignment);
  if (!total) return nullptr;
  void* mapped = mmap(nullptr, *total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  std::byte* base = static_cast<std::byte*>(mapped);
  const size_t before = (alignment - reinterpret_cast<uintptr_t>(base) % alignment) % alignment;
  if (before > 0) munmap(base, before);
  munmap(base + before + bytes, alignment - before);
  return base + before;
}

}  // namespace

Result<Pages> Pages::map(size_t bytes) {
  if (bytes == 0) return Pages();
  const size_t page = bytes < kHugePage ? kPage : kHugePage;
  const std::optional<uint64_t> rounded = checked_align(bytes, page);
  std::byte* base = rounded ? map_aligned(*rounded, page) : nullptr;
  if (base == nullptr) {
    return Error{ErrorCode::out_of_memory,
                 concat("expected ", bytes, " bytes of memory, and the system refused them")};
  }
  // Only a hint: without huge pages the same memory is merely slower.
  if (page == kHugePage) madvise(base, *rounded, MADV_HUGEPAGE);
  return Pages(base, *rounded);
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

Result<std::unique_ptr<Buffer>> SharedPages::take(Backend& backend, size_t bytes) {
  size_t first = checked_align(used_, kAlignment).value_or(used_);
  if (chunk_ == nullptr || first > chunk_->bytes() || bytes > chunk_->bytes() - first) {
    chunk_ = std::make_shared<const Pages>(LM_TRY(Pages::map(std::max(bytes, kChunk))));
    first = 0;
  }
  used_ = first + bytes;
  return std::unique_ptr<Buffer>(std::make_unique<SharedBuffer>(backend, chunk_, first, bytes));
}

Result<std::unique_ptr<Buffer>> allocate_buffer(Backend& backend, size_t bytes) {
  Pages pages = LM_TRY(Pages::map(bytes));
  return std::unique_ptr<Buffer>(std::make_unique<PageBuffer>(backend, std::move(pages), bytes));
}

std::unique_ptr<Buffer> borrow_buffer(Backend& backend, std::span<const std::byte> bytes) {
  return std::make_unique<BorrowedBuffer>(backend, bytes);
}

}  // namespace lm::cpu
