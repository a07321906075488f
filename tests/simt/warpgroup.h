// tests/simt/warpgroup.h — what compute capability 9.0 adds: barriers in shared memory that count
// arrivals and bytes, bulk copies that count at them, and products of operands in shared memory.
// All that is asynchronous happens as late as it may: a copy when somebody waits at its barrier
// (until then its target is 0xff), a product when its warp waits for it. A wait that is missing, or
// a stage that is given back while it is read, shows in the numbers.
// Source: PTX ISA 9.0, "mbarrier", "cp.async.bulk", "wgmma.mma_async".
#pragma once
#include <cstdint>

#include "tests/simt/grid.h"

namespace simt {

void init_barrier(uint64_t* barrier, uint32_t arrivals);
void arrive(uint64_t* barrier, uint32_t expected_bytes);
void wait_for_phase(uint64_t* barrier, uint32_t parity, Site site);
void copy_bulk(void* shared, const void* global, uint32_t bytes, uint64_t* barrier);

// d[64 x n] += a[64 x 16] b[n x 16]^T; n_sums = n / 2 sums of this lane. Operands as wgmma's
// descriptors: K-major, 128-byte swizzle.
void multiply_async(float* sums, int n_sums, uint64_t a, uint64_t b);
void begin_products(const char* file = __builtin_FILE(), int line = __builtin_LINE());
void commit_products();
void wait_products(int n_latest_groups_may_be_pending, const char* file = __builtin_FILE(),
                   int line = __builtin_LINE());

}  // namespace simt
