// tests/simt/fiber.h — a stack of its own that code can be left on and continued.
// A switch saves what the x86-64 System V ABI calls callee-saved registers (section 3.2.1); other
// machines go through ucontext. AddressSanitizer is told of every switch.
#pragma once
#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace simt {

class Fiber {
 public:
  Fiber() = default;  // where the caller stands: to come back to
  // Begins with main, which never returns. Fibers of different `color` do not begin their stacks at
  // the same place of the cache.
  Fiber(void (*main)(), size_t color);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Continues `to`; returns when somebody switches to `from`.
  static void switch_to(Fiber& from, Fiber& to);

  // Forgets where the fiber stood: it begins with main again.
  void reset();

  const unsigned char* stack() const { return static_cast<const unsigned char*>(stack_); }
  size_t stack_bytes() const { return stack_bytes_; }

 private:
  static void arrive(Fiber* me);
  static void first_entry();

  void (*main_)() = nullptr;
  void* stack_ = nullptr;  // lowest usable byte; a page that cannot be touched lies below
  size_t stack_bytes_ = 0;
  void* fake_stack_ = nullptr;  // AddressSanitizer's
#if defined(__x86_64__)
  void* stack_pointer_ = nullptr;
#else
  ucontext_t context_ = {};
#endif
};

}  // namespace simt
