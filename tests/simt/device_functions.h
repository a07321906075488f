// tests/simt/device_functions.h — CUDA's built-in variables and functions of device code.
// Meanings: CUDA C++ Programming Guide ("C++ Language Extensions") and CUDA Math API
// ("Integer Intrinsics", "SIMD Intrinsics", "Type Casting Intrinsics"). Barriers and meetings of
// lanes are stricter than the guide: all threads take part, and no mask names an exited lane.
#pragma once
#include <math.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tests/simt/grid.h"

#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

// A function whose loads and stores are not a thread's (see races/races.h).
#define SIMT_UNWATCHED __attribute__((noinline, no_sanitize("thread")))

inline constexpr int warpSize = 32;

// Where a barrier or meeting stands in the source, as the caller's default arguments.
#define SIMT_SITE_PARAMETERS const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(SIMT_SITE_PARAMETERS) {
  simt::wait_for_block({file, line});
}

inline void __syncwarp(unsigned mask = 0xffffffffu, SIMT_SITE_PARAMETERS) {
  simt::meet_lanes({mask, "__syncwarp", {file, line}, nullptr, &simt::order_lanes});
}

// Blocks run one after the other and threads switch only where they wait: there is nothing to
// order, but for who looks for races. Those within a block are not told of this fence.
inline void __threadfence() {
  simt::note_fence();
}
inline void __threadfence_block() {}
inline void __threadfence_system() {
  simt::note_fence();
}

[[noreturn]] inline void __trap() {
  simt::fail("__trap()");
}

namespace simt {

inline int lane_id() {
  return running.thread->lane;
}

template <class T>
struct Shuffle {
  T value;
  int source;
  T result;
};

template <class T>
void resolve_shuffle(const Meeting* lanes, uint32_t mask) {
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    auto* const mine = static_cast<Shuffle<T>*>(lanes[std::countr_zero(rest)].operand);
    if ((mask >> mine->source & 1) == 0) {
      fail("lane %d shuffles from lane %d, which is not in the mask %08x", std::countr_zero(rest),
           mine->source, mask);
    }
    mine->result = static_cast<Shuffle<T>*>(lanes[mine->source].operand)->value;
  }
}

template <class T>
T shuffle(unsigned mask, T value, int source, const char* what, Site site) {
  static_assert(std::is_arithmetic_v<T> || sizeof(T) == 4, "what CUDA can shuffle");
  Shuffle<T> operand = {value, source, value};
  meet_lanes({mask, what, site, &operand, &resolve_shuffle<T>});
  return operand.result;
}

struct Vote {
  bool predicate;
  uint32_t ballot;
};

inline void resolve_vote(const Meeting* lanes, uint32_t mask) {
  uint32_t ballot = 0;
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    ballot |= uint32_t(static_cast<Vote*>(lanes[lane].operand)->predicate) << lane;
  }
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    static_cast<Vote*>(lanes[std::countr_zero(rest)].operand)->ballot = ballot;
  }
}

inline uint32_t vote(unsigned mask, bool predicate, const char* what, Site site) {
  Vote operand = {predicate, 0};
  meet_lanes({mask, what, site, &operand, &resolve_vote});
  return operand.ballot;
}

}  // namespace simt

// A lane that would read beyond its group of `width` lanes gets its own value back (PTX ISA,
// shfl.sync).
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, SIMT_SITE_PARAMETERS) {
  const int first = simt::lane_id() & ~(width - 1);
  return simt::shuffle(mask, value, first | (source & (width - 1)), "__shfl_sync", {file, line});
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, SIMT_SITE_PARAMETERS) {
  const int lane = simt::lane_id(), last = lane | (width - 1), source = (lane ^ bits) & 31;
  return simt::shuffle(mask, value, source <= last ? source : lane, "__shfl_xor_sync",
                       {file, line});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_SITE_PARAMETERS) {
  const int lane = simt::lane_id(), last = lane | (width - 1), source = lane + int(delta & 31);
  return simt::shuffle(mask, value, source <= last ? source : lane, "__shfl_down_sync",
                       {file, line});
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_SITE_PARAMETERS) {
  const int lane = simt::lane_id(), first = lane & ~(width - 1), source = lane - int(delta & 31);
  return simt::shuffle(mask, value, source >= first ? source : lane, "__shfl_up_sync",
                       {file, line});
}

inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_SITE_PARAMETERS) {
  return simt::vote(mask, predicate != 0, "__ballot_sync", {file, line});
}
inline int __any_sync(unsigned mask, int predicate, SIMT_SITE_PARAMETERS) {
  return simt::vote(mask, predicate != 0, "__any_sync", {file, line}) != 0;
}
inline int __all_sync(unsigned mask, int predicate, SIMT_SITE_PARAMETERS) {
  return simt::vote(mask, predicate != 0, "__all_sync", {file, line}) == mask;
}

#undef SIMT_SITE_PARAMETERS

// Atomics: one thread runs at a time. Each returns what was there before.
namespace simt {
template <class T, class F>
SIMT_UNWATCHED T exchange(T* at, F next) {
  note_atomic(at, sizeof(T), __builtin_return_address(0));
  const T before = *at;
  *at = next(before);
  return before;
}
template <class T>
using Same = std::type_identity_t<T>;
}  // namespace simt
template <class T>
T atomicAdd(T* at, simt::Same<T> value) {
  using U = std::conditional_t<std::is_same_v<T, int>, unsigned, T>;  // wraps around
  return simt::exchange(at, [=](T old) { return T(U(old) + U(value)); });
}
template <class T>
T atomicSub(T* at, simt::Same<T> value) {
  using U = std::conditional_t<std::is_same_v<T, int>, unsigned, T>;
  return simt::exchange(at, [=](T old) { return T(U(old) - U(value)); });
}
template <class T>
T atomicExch(T* at, simt::Same<T> value) {
  return simt::exchange(at, [=](T) { return value; });
}
template <class T>
T atomicMax(T* at, simt::Same<T> value) {
  return simt::exchange(at, [=](T old) { return old < value ? value : old; });
}
template <class T>
T atomicMin(T* at, simt::Same<T> value) {
  return simt::exchange(at, [=](T old) { return value < old ? value : old; });
}
template <class T>
T atomicAnd(T* at, simt::Same<T> value) {
  return simt::exchange(at, [=](T old) { return old & value; });
}
template <class T>
T atomicOr(T* at, simt::Same<T> value) {
  return simt::exchange(at, [=](T old) { return old | value; });
}
template <class T>
T atomicXor(T* at, simt::Same<T> value) {
  return simt::exchange(at, [=](T old) { return old ^ value; });
}
template <class T>
T atomicCAS(T* at, simt::Same<T> expected, simt::Same<T> value) {
  return simt::exchange(at, [=](T old) { return old == expected ? value : old; });
}
inline unsigned atomicInc(unsigned* at, unsigned last) {
  return simt::exchange(at, [=](unsigned old) { return old >= last ? 0u : old + 1; });
}
inline unsigned atomicDec(unsigned* at, unsigned last) {
  return simt::exchange(at, [=](unsigned old) { return old == 0 || old > last ? last : old - 1; });
}

// Loads and stores with a hint for the caches.
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
template <class T>
T __ldca(const T* p) {
  return *p;
}
template <class T>
void __stcs(T* p, simt::Same<T> value) {
  *p = value;
}
template <class T>
void __stcg(T* p, simt::Same<T> value) {
  *p = value;
}

// Integers.
inline int __popc(unsigned x) {
  return std::popcount(x);
}
inline int __popcll(unsigned long long x) {
  return std::popcount(x);
}
inline int __clz(int x) {
  return std::countl_zero(unsigned(x));
}
inline int __clzll(long long x) {
  return std::countl_zero(static_cast<unsigned long long>(x));
}
inline int __ffs(int x) {
  return x == 0 ? 0 : std::countr_zero(unsigned(x)) + 1;
}
inline int __ffsll(long long x) {
  return x == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(x)) + 1;
}
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (x >> i & 1u) << (31 - i);
  return reversed;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return unsigned(uint64_t(a) * b >> 32);
}
inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned shift) {
  return unsigned(((uint64_t(hi) << 32 | lo) << (shift & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned shift) {
  return unsigned((uint64_t(hi) << 32 | lo) >> (shift & 31));
}
// Byte i of the result is the byte of {y, x} that bits 4i..4i+2 of `selector` name; bit 4i + 3 set:
// eight copies of its sign (PTX ISA, prmt).
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const uint64_t bytes = uint64_t(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned s = selector >> 4 * i;
    unsigned byte = unsigned(bytes >> 8 * (s & 7u)) & 0xffu;
    if ((s & 8u) != 0) byte = (byte & 0x80u) != 0 ? 0xffu : 0u;
    result |= byte << 8 * i;
  }
  return result;
}
inline int __dp4a(int a, int b, int c) {
  unsigned sum = unsigned(c);
  for (int i = 0; i < 4; ++i) {
    sum += unsigned(int(int8_t(unsigned(a) >> 8 * i)) * int(int8_t(unsigned(b) >> 8 * i)));
  }
  return int(sum);
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 4; ++i) c += (a >> 8 * i & 0xffu) * (b >> 8 * i & 0xffu);
  return c;
}

// Four bytes at a time.
namespace simt {
template <class F>
unsigned each_byte(unsigned a, unsigned b, F f) {
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    result |= (unsigned(f(a >> 8 * i & 0xffu, b >> 8 * i & 0xffu)) & 0xffu) << 8 * i;
  }
  return result;
}
}  // namespace simt
inline unsigned __vadd4(unsigned a, unsigned b) {
  return simt::each_byte(a, b, [](unsigned x, unsigned y) { return x + y; });
}
inline unsigned __vsub4(unsigned a, unsigned b) {
  return simt::each_byte(a, b, [](unsigned x, unsigned y) { return x - y; });
}
inline unsigned __vcmpeq4(unsigned a, unsigned b) {
  return simt::each_byte(a, b, [](unsigned x, unsigned y) { return x == y ? 0xffu : 0u; });
}
inline unsigned __vcmpne4(unsigned a, unsigned b) {
  return simt::each_byte(a, b, [](unsigned x, unsigned y) { return x != y ? 0xffu : 0u; });
}
inline unsigned __vsubss4(unsigned a, unsigned b) {  // signed, saturating
  return simt::each_byte(a, b, [](unsigned x, unsigned y) {
    const int d = int(int8_t(x)) - int(int8_t(y));
    return unsigned(d < -128 ? -128 : d > 127 ? 127 : d);
  });
}

// The same bits as another type.
inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}

// Floats, rounded to nearest even; NaN and what lies outside becomes what the device makes of it.
inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float __fsub_rn(float a, float b) {
  return a - b;
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fdiv_rn(float a, float b) {
  return a / b;
}
inline float __fmaf_rn(float a, float b, float c) {
  return fmaf(a, b, c);
}
inline float __fsqrt_rn(float x) {
  return sqrtf(x);
}
inline float __frcp_rn(float x) {
  return 1.0f / x;
}
inline float rsqrtf(float x) {  // the device's may be off by 2 ulp
  return float(1.0 / sqrt(double(x)));
}
inline float __int2float_rn(int x) {
  return float(x);
}
inline float __uint2float_rn(unsigned x) {
  return float(x);
}
inline int __float2int_rn(float x) {
  if (isnan(x)) return 0;
  if (x >= 2147483648.0f) return INT32_MAX;
  return x < -2147483648.0f ? INT32_MIN : int(rintf(x));
}
inline int __float2int_rz(float x) {
  return __float2int_rn(truncf(x));
}
inline int __float2int_rd(float x) {
  return __float2int_rn(floorf(x));
}
inline int __float2int_ru(float x) {
  return __float2int_rn(ceilf(x));
}

#define SIMT_MIN_MAX(T)       \
  constexpr T min(T a, T b) { \
    return b < a ? b : a;     \
  }                           \
  constexpr T max(T a, T b) { \
    return a < b ? b : a;     \
  }
SIMT_MIN_MAX(int)
SIMT_MIN_MAX(unsigned)
SIMT_MIN_MAX(long)
SIMT_MIN_MAX(unsigned long)
SIMT_MIN_MAX(long long)
SIMT_MIN_MAX(unsigned long long)
#undef SIMT_MIN_MAX
inline float min(float a, float b) {
  return fminf(a, b);
}
inline float max(float a, float b) {
  return fmaxf(a, b);
}
