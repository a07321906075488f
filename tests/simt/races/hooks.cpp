// What a compiler calls for -fsanitize=thread (gcc 12, clang 14: before each load and store), and
// what its intrinsics for copies become. See races.h.
#include <cstddef>
#include <utility>

#include "tests/simt/races/races.h"

namespace {

using simt::Access;

inline void note(const void* at, size_t bytes, Access access, const void* code) {
  simt::Races* const races = std::exchange(simt::watching, nullptr);  // while it looks
  if (races == nullptr) return;
  races->access(at, bytes, access, code);
  simt::watching = races;
}

}  // namespace

#define SIMT_HOOK(name, ...)       \
  void __tsan_##name(__VA_ARGS__); \
  void __tsan_##name(__VA_ARGS__)
#define SIMT_READ_WRITE(prefix, bytes)                           \
  SIMT_HOOK(prefix##read##bytes, void* at) {                     \
    note(at, bytes, Access::read, __builtin_return_address(0));  \
  }                                                              \
  SIMT_HOOK(prefix##write##bytes, void* at) {                    \
    note(at, bytes, Access::write, __builtin_return_address(0)); \
  }

extern "C" {

SIMT_READ_WRITE(, 1)
SIMT_READ_WRITE(, 2)
SIMT_READ_WRITE(, 4)
SIMT_READ_WRITE(, 8)
SIMT_READ_WRITE(, 16)
SIMT_READ_WRITE(unaligned_, 2)
SIMT_READ_WRITE(unaligned_, 4)
SIMT_READ_WRITE(unaligned_, 8)
SIMT_READ_WRITE(unaligned_, 16)

SIMT_HOOK(read_range, void* at, size_t bytes) {
  note(at, bytes, Access::read, __builtin_return_address(0));
}
SIMT_HOOK(write_range, void* at, size_t bytes) {
  note(at, bytes, Access::write, __builtin_return_address(0));
}

// Of no interest: kernels have no virtual functions, and nothing asks for the stack of calls.
SIMT_HOOK(init) {}
SIMT_HOOK(func_entry, void*) {}
SIMT_HOOK(func_exit) {}
SIMT_HOOK(vptr_update, void**, void*) {}
SIMT_HOOK(vptr_read, void**) {}

// clang up to 15 copies structs by functions of the C library: the linker sends them here (--wrap).
// Later ones call functions of their own.
void* __real_memcpy(void* to, const void* from, size_t bytes);
void* __real_memmove(void* to, const void* from, size_t bytes);
void* __real_memset(void* to, int value, size_t bytes);

#define SIMT_COPY(name, real)                                     \
  void* name(void* to, const void* from, size_t bytes);           \
  void* name(void* to, const void* from, size_t bytes) {          \
    note(from, bytes, Access::read, __builtin_return_address(0)); \
    note(to, bytes, Access::write, __builtin_return_address(0));  \
    return real(to, from, bytes);                                 \
  }
#define SIMT_SET(name, real)                                     \
  void* name(void* to, int value, size_t bytes);                 \
  void* name(void* to, int value, size_t bytes) {                \
    note(to, bytes, Access::write, __builtin_return_address(0)); \
    return real(to, value, bytes);                               \
  }

SIMT_COPY(__wrap_memcpy, __real_memcpy)
SIMT_COPY(__wrap_memmove, __real_memmove)
SIMT_SET(__wrap_memset, __real_memset)
SIMT_COPY(__tsan_memcpy, __real_memcpy)
SIMT_COPY(__tsan_memmove, __real_memmove)
SIMT_SET(__tsan_memset, __real_memset)
}
