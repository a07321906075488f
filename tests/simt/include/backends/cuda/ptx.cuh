// The emulation's twin of backends/cuda/ptx.cuh: what each instruction means, in C++.
// Fragment layouts: PTX ISA 9.0, "Matrix Fragments for mma.m16n8k16", "... mma.m16n8k32", ldmatrix.
#pragma once
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "tests/simt/warp_matrix.h"

// Exactly what the launch asked for; 0xff bytes when the block begins.
#define LM_SHARED(T, name) T* const name = reinterpret_cast<T*>(::simt::running.shared)

namespace lm::cuda {

inline int dot4(int a, int b, int c) {
  return __dp4a(a, b, c);
}

inline void mma_s8(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  simt::mma_s8(d, a, b);
}

inline void mma_s8_half(int (&d)[4], const uint32_t (&a)[2], uint32_t b) {
  simt::mma_s8(d, {a[0], a[1], 0, 0}, {b, 0});
}

inline uint4 load_once(const uint4* at) {
  return *at;
}

// Reads a byte, so that an address outside of memory is found.
SIMT_UNWATCHED inline void prefetch(const void* at) {
  static_cast<void>(*static_cast<const volatile unsigned char*>(at));
}

inline void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  simt::mma_f16(d, a, b);
}

inline void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  simt::mma_tf32(d, a, b);
}

template <int N>
void load_matrix(uint32_t (&r)[N], const void* row) {
  simt::load_matrix(r, row, false);
}

template <int N>
void load_matrix_transposed(uint32_t (&r)[N], const void* row) {
  simt::load_matrix(r, row, true);
}

inline void copy_async_16(void* shared, const void* global, bool valid = true) {
  simt::copy_async_16(shared, global, valid);
}

inline void commit_copies() {
  simt::commit_copies();
}

template <int N>
void wait_copies() {
  simt::wait_copies(N);
}

inline void wait_for_previous_kernel() {
  simt::wait_for_previous_kernel();
}

inline void allow_next_kernel() {}

}  // namespace lm::cuda
