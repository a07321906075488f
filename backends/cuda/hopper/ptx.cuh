// backends/cuda/hopper/ptx.cuh — instructions that only compute capability 9.0 has, each behind one
// function: barriers that count bytes, bulk copies, and products of four warps.
// Sources: PTX ISA 9.0, "mbarrier", "cp.async.bulk", "Asynchronous Warpgroup Level Matrix
// Instructions", "setmaxnreg".
#pragma once
#include <cstddef>
#include <cstdint>

namespace lm::cuda::hopper {

__device__ inline uint32_t shared_address(const void* p) {
  return uint32_t(__cvta_generic_to_shared(p));
}

// ---- barriers: a phase ends when `arrivals` threads and all announced bytes have come ----

__device__ inline void init_barrier(uint64_t* barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(arrivals));
}
// Barriers that were initialised become visible to bulk copies.
__device__ inline void fence_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::: "memory");
}
__device__ inline void arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
}
__device__ inline void arrive_and_expect(uint64_t* barrier, uint32_t bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}
// Until the phase of this parity has ended.
__device__ inline void wait(uint64_t* barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

// bytes (a multiple of 16) from global to shared memory; they count at the barrier.
__device__ inline void copy_bulk(void* shared, const void* global, uint32_t bytes,
                                 uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(shared)),
      "l"(global), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
}

// ---- products of a warpgroup (four warps) ----

// What wgmma is told about an operand in shared memory: its address, 1024 bytes from eight rows to
// the next eight, and the 128-byte swizzle. The address is a multiple of 1024, plus the bytes to
// the first of 16 columns.
__device__ inline uint64_t operand(const void* tile) {
  constexpr uint64_t kEightRows = 1024 >> 4, kSwizzle128 = 1;
  return (shared_address(tile) & 0x3ffffu) >> 4 | uint64_t{1} << 16 | kEightRows << 32 |
         kSwizzle128 << 62;
}

// What this thread stored in shared memory becomes visible to products; a barrier behind it.
__device__ inline void fence_tiles() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ inline void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until at most n committed groups are under way.
template <int n>
__device__ inline void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(n) : "memory");
}
// Nothing that reads the sums moves to before this.
template <int n>
__device__ inline void settle(float (&d)[n]) {
#pragma unroll
  for (int i = 0; i < n; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// clang-format off
#define LM_SUMS_4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define LM_SUMS_16(i) LM_SUMS_4(i), LM_SUMS_4(i + 4), LM_SUMS_4(i + 8), LM_SUMS_4(i + 12)

// d[64 x n] += a[64 x 16] b[n x 16]^T, halves into f32. Lane 4g + t of warp w holds in
// d[4j .. 4j + 3] rows 16w + g (two) and 16w + g + 8 (two), columns 8j + 2t, 8j + 2t + 1.
__device__ inline void multiply_async(float (&d)[64], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, %64, %65, 1, 1, 1, 0, 0;"
      : LM_SUMS_16(0), LM_SUMS_16(16), LM_SUMS_16(32), LM_SUMS_16(48)
      : "l"(a), "l"(b));
}
__device__ inline void multiply_async(float (&d)[128], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
        "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
        "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
      "}, %128, %129, 1, 1, 1, 0, 0;"
      : LM_SUMS_16(0), LM_SUMS_16(16), LM_SUMS_16(32), LM_SUMS_16(48), LM_SUMS_16(64), LM_SUMS_16(80), LM_SUMS_16(96), LM_SUMS_16(112)
      : "l"(a), "l"(b));
}

#undef LM_SUMS_16
#undef LM_SUMS_4
// clang-format on

// ---- registers move from the warps that copy to those that multiply ----

template <int n>
__device__ inline void keep_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n));
}
template <int n>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n));
}

}  // namespace lm::cuda::hopper
