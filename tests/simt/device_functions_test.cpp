// Shuffles, votes, atomics and integer functions, against formulas of their own.
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/simt/run_kernel.h"
#include "tests/support/support.h"

namespace {

using simt::run_kernel;

enum class Kind { index, up, down, exclusive_or };

__global__ void shuffle_lanes(Kind kind, int operand, int width, int* out) {
  const int mine = int(threadIdx.x) + 100;
  int got = -1;
  if (kind == Kind::index) got = __shfl_sync(0xffffffffu, mine, operand, width);
  if (kind == Kind::up) got = __shfl_up_sync(0xffffffffu, mine, unsigned(operand), width);
  if (kind == Kind::down) got = __shfl_down_sync(0xffffffffu, mine, unsigned(operand), width);
  if (kind == Kind::exclusive_or) got = __shfl_xor_sync(0xffffffffu, mine, operand, width);
  out[threadIdx.x] = got - 100;
}

// Where lane `lane` reads from: PTX ISA 9.0, shfl.sync, with c as the CUDA headers make it of
// `width`.
int source_lane(Kind kind, int lane, int b, int width) {
  const int c = kind == Kind::up ? (32 - width) << 8 : ((32 - width) << 8) | 31;
  const int b_val = b & 31, c_val = c & 31, segment = (c >> 8) & 31;
  const int max_lane = (lane & segment) | (c_val & ~segment), min_lane = lane & segment;
  int j = 0;
  bool inside = false;
  if (kind == Kind::up) j = lane - b_val, inside = j >= max_lane;
  if (kind == Kind::down) j = lane + b_val, inside = j <= max_lane;
  if (kind == Kind::exclusive_or) j = lane ^ b_val, inside = j <= max_lane;
  if (kind == Kind::index) j = min_lane | (b_val & ~segment), inside = j <= max_lane;
  return inside ? j : lane;
}

__global__ void vote_lanes(unsigned mask, unsigned predicates, unsigned* out) {
  const unsigned lane = threadIdx.x;
  if ((mask >> lane & 1) == 0) return;
  const int mine = int(predicates >> lane & 1) * 4;  // any non-zero number
  out[3 * lane] = __ballot_sync(mask, mine);
  out[3 * lane + 1] = unsigned(__any_sync(mask, mine));
  out[3 * lane + 2] = unsigned(__all_sync(mask, mine));
}

struct Counters {
  unsigned sum, inc, dec, bits, flags;
  int largest, smallest, wrapped;
  unsigned long long big;
  float real;
};

__global__ void count(Counters* c) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  atomicAdd(&c->sum, unsigned(i));
  atomicAdd(&c->big, 1ull << 40);
  atomicAdd(&c->real, 0.5f);
  atomicAdd(&c->wrapped, INT32_MAX);
  atomicInc(&c->inc, 9);
  atomicDec(&c->dec, 9);
  atomicMax(&c->largest, i);
  atomicMin(&c->smallest, -i);
  atomicOr(&c->bits, 1u << (i % 32));
  atomicXor(&c->flags, 1u << (i % 2));
}

// Spins for nobody: each thread takes the lock, and no thread switches while it holds it.
__global__ void locked_sum(unsigned* lock, unsigned* sum) {
  while (atomicCAS(lock, 0u, 1u) != 0u) {
  }
  *sum += threadIdx.x;
  __threadfence();
  atomicExch(lock, 0u);
}

}  // namespace

TEST_CASE("shuffles read where the PTX manual says, for every operand and width") {
  for (const Kind kind : {Kind::index, Kind::up, Kind::down, Kind::exclusive_or}) {
    for (const int width : {1, 2, 4, 8, 16, 32}) {
      for (int operand = 0; operand < 32; ++operand) {
        std::array<int, 32> out{};
        REQUIRE(run_kernel(1, 32, 0, shuffle_lanes, kind, operand, width, out.data()) ==
                cudaSuccess);
        for (int lane = 0; lane < 32; ++lane) {
          REQUIRE(out[size_t(lane)] == source_lane(kind, lane, operand, width));
        }
      }
    }
  }
}

TEST_CASE("votes count the lanes of the mask and no others") {
  for (const unsigned mask : {0xffffffffu, 0x00ff00ffu, 0x80000001u}) {
    for (const unsigned predicates : {0u, 0xffffffffu, 0x0f0f0f0fu, 1u}) {
      std::array<unsigned, 96> out{};
      REQUIRE(run_kernel(1, 32, 0, vote_lanes, mask, predicates, out.data()) == cudaSuccess);
      for (size_t lane = 0; lane < 32; ++lane) {
        if ((mask >> lane & 1) == 0) continue;
        CHECK(out[3 * lane] == (predicates & mask));
        CHECK(out[3 * lane + 1] == unsigned((predicates & mask) != 0));
        CHECK(out[3 * lane + 2] == unsigned((predicates & mask) == mask));
      }
    }
  }
}

TEST_CASE("atomics add, wrap around and compare") {
  simt::for_each_schedule([] {
    Counters c = {};
    c.dec = 5;
    REQUIRE(run_kernel(5, 40, 0, count, &c) == cudaSuccess);
    CHECK(c.sum == 199 * 200 / 2);
    CHECK(c.big == 200ull << 40);
    CHECK(c.real == 100.0f);
    CHECK(c.wrapped == int(200u * unsigned(INT32_MAX)));
    CHECK(c.inc == 200 % 10);
    CHECK(c.dec == 5);
    CHECK(c.largest == 199);
    CHECK(c.smallest == -199);
    CHECK(c.bits == 0xffffffffu);
    CHECK(c.flags == 0);
    unsigned lock = 0, sum = 0;
    REQUIRE(run_kernel(2, 64, 0, locked_sum, &lock, &sum) == cudaSuccess);
    CHECK(sum == 2 * 63 * 64 / 2);
  });
}

TEST_CASE("integer functions") {
  CHECK(__byte_perm(0x33221100u, 0x77665544u, 0x7531u) == 0x77553311u);
  CHECK(__byte_perm(0x33221180u, 0x77665544u, 0x0b98u) == 0x800000ffu);
  CHECK(__brev(0x00000001u) == 0x80000000u);
  CHECK(__brev(0x12345678u) == 0x1e6a2c48u);
  CHECK(__clz(0) == 32);
  CHECK(__clz(1) == 31);
  CHECK(__clzll(1) == 63);
  CHECK(__ffs(0) == 0);
  CHECK(__ffs(8) == 4);
  CHECK(__ffsll(1ll << 40) == 41);
  CHECK(__popc(0xf0f0u) == 8);
  CHECK(__popcll(~0ull) == 64);
  CHECK(__umulhi(0xffffffffu, 0xffffffffu) == 0xfffffffeu);
  CHECK(__funnelshift_l(0x80000001u, 0x12345678u, 4) == 0x23456788u);
  CHECK(__funnelshift_r(0x80000001u, 0x12345678u, 4) == 0x88000000u);
  CHECK(__funnelshift_r(1u, 2u, 32) == 1u);
  CHECK(__dp4a(int(0x80ff7f01u), int(0x80ff7f02u), 10) == 16384 + 1 + 16129 + 2 + 10);
  CHECK(__dp4a(0xffffffffu, 0x02020202u, 1u) == 4 * 255 * 2 + 1);
  CHECK(__vadd4(0xff01807fu, 0x01ff8001u) == 0x00000080u);
  CHECK(__vsub4(0x00010080u, 0x01010001u) == 0xff00007fu);
  CHECK(__vsubss4(0x80807f05u, 0x0180ff06u) == 0x80007fffu);
  CHECK(__vcmpeq4(0x01020304u, 0x01000300u) == 0xff00ff00u);
  CHECK(__vcmpne4(0x01020304u, 0x01000300u) == 0x00ff00ffu);
}

TEST_CASE("dot products of bytes, against sums of their own") {
  lm::test::Random random(3);
  for (int i = 0; i < 1000; ++i) {
    const int a = int(random.next()), b = int(random.next());
    int sum = 0;
    for (int k = 0; k < 4; ++k) sum += int(int8_t(a >> 8 * k)) * int(int8_t(b >> 8 * k));
    CHECK(__dp4a(a, b, 5) == sum + 5);
  }
}

TEST_CASE("floats become integers as on the device") {
  CHECK(__float2int_rn(2.5f) == 2);
  CHECK(__float2int_rn(3.5f) == 4);
  CHECK(__float2int_rn(-2.5f) == -2);
  CHECK(__float2int_rz(-2.9f) == -2);
  CHECK(__float2int_rd(-2.1f) == -3);
  CHECK(__float2int_ru(2.1f) == 3);
  CHECK(__float2int_rn(3e9f) == INT32_MAX);
  CHECK(__float2int_rn(-3e9f) == INT32_MIN);
  CHECK(__float2int_rn(std::numeric_limits<float>::quiet_NaN()) == 0);
  CHECK(max(NAN, 1.0f) == 1.0f);
  CHECK(min(NAN, 1.0f) == 1.0f);
  CHECK(__int_as_float(__float_as_int(-0.0f)) == 0.0f);
  CHECK(__float_as_uint(-0.0f) == 0x80000000u);
}
