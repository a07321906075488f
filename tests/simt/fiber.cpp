#include "tests/simt/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tests/simt/address_sanitizer.h"

#if defined(__x86_64__)
// simt_switch_stack(save, load): keeps the callee-saved registers on this stack, its pointer in
// *save, and goes on where the stack `load` was left.
extern "C" void simt_switch_stack(void** save, void* load);
asm(R"(
.text
.globl simt_switch_stack
.type simt_switch_stack, @function
simt_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size simt_switch_stack, .-simt_switch_stack
)");
#endif

namespace simt {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kStackBytes = SIMT_ASAN ? 256 * 1024 : 64 * 1024;

constexpr size_t kColorBytes = 3 * 64;

// Who was left by the last switch and who was entered: what the entered side has to know.
Fiber* g_left = nullptr;
Fiber* g_entered = nullptr;

}  // namespace

Fiber::Fiber(void (*main)(), size_t color) : main_(main) {
  void* const memory = mmap(nullptr, kPageBytes + kStackBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kPageBytes, PROT_NONE) != 0) {
    std::perror("simt: no memory for the stack of a thread");
    std::abort();
  }
  stack_ = static_cast<char*>(memory) + kPageBytes;
  stack_bytes_ = kStackBytes - color * kColorBytes % kPageBytes;
  reset();
}

Fiber::~Fiber() {
  if (stack_ != nullptr && main_ != nullptr) {
    munmap(static_cast<char*>(stack_) - kPageBytes, kPageBytes + kStackBytes);
  }
}

void Fiber::reset() {
  __asan_unpoison_memory_region(stack_, stack_bytes_);
  fake_stack_ = nullptr;
#if defined(__x86_64__)
  // The first switch pops six registers and returns into first_entry, with the stack pointer where
  // a call would have left it: 8 beyond a multiple of 16.
  void** top = reinterpret_cast<void**>(static_cast<char*>(stack_) + stack_bytes_);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&first_entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  stack_pointer_ = top;
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_;
  context_.uc_stack.ss_size = stack_bytes_;
  context_.uc_link = nullptr;
  makecontext(&context_, &first_entry, 0);
#endif
}

void Fiber::first_entry() {
  arrive(g_entered);
  g_entered->main_();
  std::abort();
}

void Fiber::arrive([[maybe_unused]] Fiber* me) {
#if SIMT_ASAN
  const void* bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(me->fake_stack_, &bottom, &bytes);
  g_left->stack_ = const_cast<void*>(bottom);
  g_left->stack_bytes_ = bytes;
#endif
}

void Fiber::switch_to(Fiber& from, Fiber& to) {
  g_left = &from;
  g_entered = &to;
  __sanitizer_start_switch_fiber(&from.fake_stack_, to.stack_, to.stack_bytes_);
#if defined(__x86_64__)
  simt_switch_stack(&from.stack_pointer_, to.stack_pointer_);
#else
  swapcontext(&from.context_, &to.context_);
#endif
  arrive(&from);
}

}  // namespace simt
