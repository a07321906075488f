#include "tests/simt/warpgroup.h"

#include <cstring>
#include <vector>

#include "quant/half.h"
#include "tests/simt/races/races.h"

namespace simt {
namespace {

// The 8 bytes of a barrier. A phase is complete when nobody is pending and no bytes are.
struct Barrier {
  uint16_t arrivals;  // of a phase
  uint16_t pending;
  int32_t bytes : 31;
  uint32_t phase : 1;
};
static_assert(sizeof(Barrier) == 8);
constexpr uint16_t kNever = 0xffff;  // what shared memory holds at first

Barrier& state_of(uint64_t* barrier) {
  if (!is_shared(barrier, 8)) fail("mbarrier: not in shared memory");
  Barrier& state = *reinterpret_cast<Barrier*>(barrier);
  if (state.arrivals == kNever) fail("mbarrier: not initialised");
  return state;
}

void end_phase_if_complete(Barrier& state) {
  if (state.pending != 0 || state.bytes != 0) return;
  state.pending = state.arrivals;
  state.phase ^= 1;
  if (running.races != nullptr) running.races->order().end_phase(&state);
  wake(&state);
}

// A thread counts at a barrier, or looks at it.
void note_use(const Barrier& state, const void* code) {
  if (running.races != nullptr) running.races->access(&state, 8, Access::atomic, code);
}

// The copies that count at `barrier` arrive.
void finish_copies(Barrier& barrier) {
  std::vector<BulkCopy>& copies = running.grid->bulk_copies;
  for (size_t i = 0; i < copies.size();) {
    const BulkCopy copy = copies[i];
    if (copy.barrier != &barrier) {
      ++i;
      continue;
    }
    copies.erase(copies.begin() + ptrdiff_t(i));
    std::memcpy(copy.to, copy.from, copy.bytes);
    if (Races* const races = running.races; races != nullptr) {
      races->end_write(copy.to, copy.bytes, races->order().arrival_of_copies(&barrier));
    }
    barrier.bytes = barrier.bytes - int32_t(copy.bytes);
  }
  end_phase_if_complete(barrier);
}

constexpr int kDepth = 16;

// 16 bytes, the first or second half of row `row` of an operand: eight rows of 128 bytes, then the
// next eight at the stride of bits 32..45, all addresses in units of 16; bits 4..6 of an address
// are turned by bits 7..9.
const unsigned char* half_row(uint64_t operand, int row, uint32_t half) {
  const uint32_t start = uint32_t(operand & 0x3fff) << 4;
  const uint32_t stride = uint32_t(operand >> 32 & 0x3fff) << 4;
  uint32_t at = start + uint32_t(row / 8) * stride + uint32_t(row % 8) * 128 + half * 16;
  at ^= (at >> 7 & 7) << 4;
  if (at + 16 > running.shared_bytes) fail("wgmma: an operand is not in shared memory");
  return running.shared + at;
}

void load_row(uint64_t operand, int row, float (&to)[kDepth]) {
  uint16_t bits[kDepth];
  for (uint32_t half = 0; half < 2; ++half) {
    std::memcpy(&bits[half * 8], half_row(operand, row, half), 16);
  }
  for (int k = 0; k < kDepth; ++k) to[k] = lm::f16_to_f32(bits[k]);
}

int first_row_of(const Thread& thread) {
  return thread.number / 32 % 4 * 16;
}

// A product reads its operands at any time from its issue to the wait for it. Each lane speaks for
// one part in 32.
using ProductRead = void (Races::*)(const void* at, size_t bytes, int group, const void* code);
void note_operands(const Thread& thread, const PendingProduct& product, ProductRead read) {
  if (running.races == nullptr) return;
  const auto note = [&](uint64_t operand, int first_row, int n_rows) {
    for (int i = thread.lane; i < 2 * n_rows; i += 32) {
      const unsigned char* const at = half_row(operand, first_row + i / 2, uint32_t(i % 2));
      (running.races->*read)(at, 16, product.group, product.code);
    }
  };
  note(product.a, first_row_of(thread), 16);
  note(product.b, 0, product.n_sums * 2);
}

// The 16 rows of a warp.
void multiply(Thread* const (&lanes)[32], size_t index) {
  constexpr int kMostColumns = 256;
  const PendingProduct& first = lanes[0]->products[index];
  const int n = first.n_sums * 2, row = first_row_of(*lanes[0]);
  if (first.a >> 62 != 1 || first.b >> 62 != 1) fail("wgmma: expected the 128-byte swizzle");
  float a[16][kDepth], b[kDepth][kMostColumns], column[kDepth];
  for (int i = 0; i < 16; ++i) load_row(first.a, row + i, a[i]);
  for (int j = 0; j < n; ++j) {
    load_row(first.b, j, column);
    for (int k = 0; k < kDepth; ++k) b[k][j] = column[k];
  }
  for (int i = 0; i < 16; ++i) {
    double d[kMostColumns] = {};
    for (int k = 0; k < kDepth; ++k) {
      for (int j = 0; j < n; ++j) d[j] += double(a[i][k]) * double(b[k][j]);
    }
    for (int j = 0; j < n; ++j) {
      const Thread& lane = *lanes[i % 8 * 4 + j % 8 / 2];
      float& sum = lane.products[index].sums[j / 8 * 4 + i / 8 * 2 + j % 2];
      sum = float(double(sum) + d[j]);
    }
  }
}

void resolve_products(const Meeting* meetings, uint32_t) {
  Thread* lanes[32];
  for (int i = 0; i < 32; ++i) lanes[i] = static_cast<Thread*>(meetings[i].operand);
  size_t n = 0;
  while (n < lanes[0]->products.size() && lanes[0]->products[n].group < lanes[0]->products_due) {
    multiply(lanes, n++);
  }
  for (Thread* lane : lanes) {
    lane->products.erase(lane->products.begin(), lane->products.begin() + ptrdiff_t(n));
  }
}

}  // namespace

void init_barrier(uint64_t* barrier, uint32_t arrivals) {
  if (!is_shared(barrier, 8)) fail("mbarrier: not in shared memory");
  const Unwatched own;
  *reinterpret_cast<Barrier*>(barrier) = {uint16_t(arrivals), uint16_t(arrivals), 0, 0};
  if (Races* const races = running.races; races != nullptr) {
    races->access(barrier, 8, Access::write, __builtin_return_address(0));
    races->order().init_barrier(barrier);
  }
}

void arrive(uint64_t* barrier, uint32_t expected_bytes) {
  const Unwatched own;
  Barrier& state = state_of(barrier);
  if (state.pending == 0) fail("mbarrier: more arrivals than the phase expects");
  note_use(state, __builtin_return_address(0));
  if (running.races != nullptr) running.races->order().arrive(running.thread->number, &state);
  state.bytes = state.bytes + int32_t(expected_bytes);
  --state.pending;
  end_phase_if_complete(state);
}

void wait_for_phase(uint64_t* barrier, uint32_t parity, Site site) {
  const Unwatched own;
  Barrier& state = state_of(barrier);
  note_use(state, __builtin_return_address(0));
  while (state.phase == parity) {
    finish_copies(state);
    if (state.phase == parity) sleep(&state, site);
  }
  if (running.races != nullptr) running.races->order().wait(running.thread->number, &state);
}

void copy_bulk(void* shared, const void* global, uint32_t bytes, uint64_t* barrier) {
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  if (!aligned(shared) || !aligned(global) || bytes % 16 != 0) {
    fail("cp.async.bulk: addresses and size are not multiples of 16");
  }
  if (!is_shared(shared, bytes)) fail("cp.async.bulk: target is not in shared memory");
  const Unwatched own;
  if (running.races != nullptr) {
    running.races->access(global, bytes, Access::read, __builtin_return_address(0));
    running.races->begin_write(shared, bytes, __builtin_return_address(0));
  }
  std::memset(shared, 0xff, bytes);
  Barrier& state = state_of(barrier);
  running.grid->bulk_copies.push_back({shared, global, bytes, &state});
  wake(&state);  // who waits lets the copy arrive
}

void begin_products(const char* file, int line) {
  meet_lanes({0xffffffffu, "wgmma.fence", {file, line}, nullptr, [](const Meeting*, uint32_t) {}});
}

void multiply_async(float* sums, int n_sums, uint64_t a, uint64_t b) {
  const Unwatched own;
  Thread& thread = *running.thread;
  const void* const code = __builtin_return_address(0);
  thread.products.push_back({code, sums, n_sums, a, b, thread.n_product_commits});
  note_operands(thread, thread.products.back(), &Races::begin_product_read);
}

void commit_products() {
  ++running.thread->n_product_commits;
}

void wait_products(int n_latest_groups_may_be_pending, const char* file, int line) {
  const Unwatched own;
  Thread& thread = *running.thread;
  thread.products_due = thread.n_product_commits - n_latest_groups_may_be_pending;
  for (const PendingProduct& product : thread.products) {
    if (product.group >= thread.products_due) break;
    note_operands(thread, product, &Races::end_product_read);
  }
  meet_lanes({0xffffffffu, "wgmma.wait_group", {file, line}, &thread, &resolve_products});
  if (running.races != nullptr) {
    running.races->order().end_products(thread.number, thread.products_due);
  }
}

}  // namespace simt
