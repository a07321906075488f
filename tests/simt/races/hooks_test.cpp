// Every function that a compiler calls for an access, and accesses that compilers make of copies.
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "tests/simt/races/check_kernel.h"

#define SIMT_FOR_EACH_SIZE(what)                                                                   \
  what(read1) what(read2) what(read4) what(read8) what(read16) what(unaligned_read2)               \
      what(unaligned_read4) what(unaligned_read8) what(unaligned_read16) what(write1) what(write2) \
          what(write4) what(write8) what(write16) what(unaligned_write2) what(unaligned_write4)    \
              what(unaligned_write8) what(unaligned_write16)
#define SIMT_DECLARE(name) void __tsan_##name(void* at);

extern "C" {
SIMT_FOR_EACH_SIZE(SIMT_DECLARE)
void __tsan_read_range(void* at, size_t bytes);
void __tsan_write_range(void* at, size_t bytes);
void* __tsan_memcpy(void* to, const void* from, size_t bytes);
void* __tsan_memmove(void* to, const void* from, size_t bytes);
void* __tsan_memset(void* to, int value, size_t bytes);
}

namespace {

using namespace simt;

using Touch = void (*)(unsigned char* at, unsigned char* out);

// Thread 0 writes or reads one byte, thread 32 does something with those from `offset` on.
__global__ void touch_byte(unsigned char* out, Touch touch, int offset, int byte, bool writes) {
  LM_SHARED(unsigned char, bytes);
  if (threadIdx.x == 32) touch(bytes + offset, out);
  if (threadIdx.x != 0) return;
  if (writes) {
    bytes[byte] = 1;
  } else {
    out[64] = bytes[byte];
  }
}

// Bytes [offset, offset + n) of 128 are touched, no other; as a write if `writes`, else as a read.
void check_touch(const std::string& name, Touch touch, int offset, int n, bool writes) {
  alignas(16) unsigned char out[128];
  CAPTURE(name);
  const auto touches = [&](const std::vector<const char*>& words, int byte, bool other_writes) {
    CAPTURE(byte);
    check(words, 1, 64, 128, touch_byte, &out[0], touch, offset, byte, other_writes);
  };
  for (const int byte : {offset, offset + n - 1}) {
    touches({"race: ", "shared memory"}, byte, true);
    if (writes) {
      touches({"race: ", "shared memory"}, byte, false);
    } else {
      touches(kFine, byte, false);
    }
  }
  touches(kFine, offset - 1, true);
  touches(kFine, offset + n, true);
}

template <int n>
struct Bytes {
  unsigned char bytes[n];
};
template <class T>
void assign(void* to, const void* from) {
  *static_cast<T*>(to) = *static_cast<const T*>(from);
}

// What a kernel leaves behind a fence is seen by who reads the counter after it.
__global__ void release_to_system(int* words, unsigned* n_done, int* sum, bool fences) {
  words[blockIdx.x] = 1;
  if (fences) __threadfence_system();
  if (atomicInc(n_done, gridDim.x - 1) != gridDim.x - 1) return;
  int all = 0;
  for (unsigned b = 0; b < gridDim.x; ++b) all += words[b];
  *sum = all;
}

}  // namespace

TEST_CASE("race: each of the compiler's functions tells how many bytes it reads or writes") {
  struct Hook {
    const char* name;
    Touch touch;
  };
#define SIMT_ROW(name) {#name, [](unsigned char* at, unsigned char*) { __tsan_##name(at); }},
  const Hook hooks[] = {SIMT_FOR_EACH_SIZE(SIMT_ROW)};
  for (const Hook& hook : hooks) {
    const std::string name = hook.name;
    const int n = std::stoi(name.substr(name.find_first_of("0123456789")));
    const int offset = name.find("unaligned") == name.npos ? 32 : 33;
    check_touch(hook.name, hook.touch, offset, n, name.find("write") != name.npos);
  }
  check_touch(
      "read_range", [](unsigned char* at, unsigned char*) { __tsan_read_range(at, 23); }, 35, 23,
      false);
  check_touch(
      "write_range", [](unsigned char* at, unsigned char*) { __tsan_write_range(at, 23); }, 35, 23,
      true);
}

TEST_CASE("race: copies read and write") {
  constexpr int n = 37;
#define SIMT_COPIES(copy)                                                                    \
  check_touch(                                                                               \
      #copy, [](unsigned char* at, unsigned char* out) { copy(out, at, n); }, 35, n, false); \
  check_touch(                                                                               \
      #copy, [](unsigned char* at, unsigned char* out) { copy(at, out, n); }, 35, n, true);
  SIMT_COPIES(std::memcpy)
  SIMT_COPIES(std::memmove)
  SIMT_COPIES(__tsan_memcpy)
  SIMT_COPIES(__tsan_memmove)
  check_touch(
      "memset", [](unsigned char* at, unsigned char*) { std::memset(at, 0, n); }, 35, n, true);
  check_touch(
      "__tsan_memset", [](unsigned char* at, unsigned char*) { __tsan_memset(at, 0, n); }, 35, n,
      true);
}

TEST_CASE("race: numbers of all sizes and structs are seen as the compiler moves them") {
#define SIMT_ASSIGNS(T)                                                                     \
  check_touch(                                                                              \
      #T, [](unsigned char* at, unsigned char* out) { assign<T>(out, at); }, 32, sizeof(T), \
      false);                                                                               \
  check_touch(                                                                              \
      #T, [](unsigned char* at, unsigned char* out) { assign<T>(at, out); }, 32, sizeof(T), true);
  SIMT_ASSIGNS(uint8_t)
  SIMT_ASSIGNS(uint16_t)
  SIMT_ASSIGNS(uint32_t)
  SIMT_ASSIGNS(uint64_t)
  SIMT_ASSIGNS(float2)
  SIMT_ASSIGNS(uint4)
  SIMT_ASSIGNS(Bytes<12>)
  SIMT_ASSIGNS(Bytes<48>)
}

TEST_CASE("race: a fence for the system is one for the device") {
  Buffer words;
  unsigned n_done = 0;
  int sum = 0;
  check(kFine, 4, 1, 0, release_to_system, words.words, &n_done, &sum, true);
  n_done = 0;
  check({"no fence and atomic operation"}, 4, 1, 0, release_to_system, words.words, &n_done, &sum,
        false);
}
