// tests/support/count_allocations.h — replaces operator new in a test program, counts its calls,
// and refuses memory where a test says so.
// Include in exactly one source file of the program.
#pragma once
#include <atomic>
#include <cstdlib>
#include <new>

namespace lm::test {
inline std::atomic<long> allocations{0};
inline std::atomic<bool> refuses_memory{false};
}  // namespace lm::test

// Not inlined: gcc warns of malloc and delete in one place.
[[gnu::noinline]] void* operator new(size_t size) {
  ++lm::test::allocations;
  void* const p = lm::test::refuses_memory ? nullptr : std::malloc(size > 0 ? size : 1);
  if (p != nullptr) return p;
  throw std::bad_alloc();
}
// std::stable_sort's; sanitizers have their own, which does not go with the delete below.
[[gnu::noinline]] void* operator new(size_t size, const std::nothrow_t&) noexcept {
  ++lm::test::allocations;
  return std::malloc(size > 0 ? size : 1);
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
  std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept {
  std::free(p);
}
