// The emulation's twin of backends/cuda/hopper/ptx.cuh.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "tests/simt/warpgroup.h"

namespace lm::cuda::hopper {

inline uint32_t shared_address(const void* p) {
  return uint32_t(static_cast<const unsigned char*>(p) - simt::running.shared);
}

inline void init_barrier(uint64_t* barrier, uint32_t arrivals) {
  simt::init_barrier(barrier, arrivals);
}
inline void fence_barriers() {}
inline void arrive(uint64_t* barrier) {
  simt::arrive(barrier, 0);
}
inline void arrive_and_expect(uint64_t* barrier, uint32_t bytes) {
  simt::arrive(barrier, bytes);
}
inline void wait(uint64_t* barrier, uint32_t parity, const char* file = __builtin_FILE(),
                 int line = __builtin_LINE()) {
  simt::wait_for_phase(barrier, parity, {file, line});
}
inline void copy_bulk(void* shared, const void* global, uint32_t bytes, uint64_t* barrier) {
  simt::copy_bulk(shared, global, bytes, barrier);
}

inline uint64_t operand(const void* tile) {
  return (shared_address(tile) & 0x3ffffu) >> 4 | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 |
         uint64_t{1} << 62;
}
inline void fence_tiles() {}
inline void begin_products() {
  simt::begin_products();
}
inline void commit_products() {
  simt::commit_products();
}
template <int n>
void wait_products() {
  simt::wait_products(n);
}
template <int n>
void settle(float (&)[n]) {}
template <int n>
void multiply_async(float (&d)[n], uint64_t a, uint64_t b) {
  simt::multiply_async(d, n, a, b);
}

template <int n>
void keep_registers() {}
template <int n>
void take_registers() {}

}  // namespace lm::cuda::hopper
