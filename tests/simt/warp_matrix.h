// tests/simt/warp_matrix.h — matrix products of a warp, ldmatrix and cp.async.
// A copy is made when it is waited for, not before, and its target is 0xff until then: a wait that
// is missing, or a buffer that is still read, shows.
#pragma once
#include <cstdint>
#include <span>

#include "tests/simt/grid.h"

namespace simt {

// Sums are exact (f16, tf32: as good as float64) and rounded once; tensor cores keep a few bits
// fewer.
void mma_s8(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
            const char* file = __builtin_FILE(), int line = __builtin_LINE());
void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
             const char* file = __builtin_FILE(), int line = __builtin_LINE());
void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
              const char* file = __builtin_FILE(), int line = __builtin_LINE());

// r.size() (1, 2, 4) matrices of 8 x 8 halves; lanes 8i..8i+7 say where the rows of matrix i lie.
void load_matrix(std::span<uint32_t> r, const void* row, bool transposed,
                 const char* file = __builtin_FILE(), int line = __builtin_LINE());

void copy_async_16(void* shared, const void* global, bool valid);
void commit_copies();
void wait_copies(int n_latest_groups_may_be_pending);

}  // namespace simt
