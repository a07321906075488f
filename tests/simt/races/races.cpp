#include "tests/simt/races/races.h"

#include <algorithm>
#include <bit>

namespace simt {

constinit thread_local Races* watching = nullptr;

namespace {

int n_of(dim3 n) {
  return int(n.x * n.y * n.z);
}

bool conflict(const Record& a, const Record& b) {
  if (b.access == Access::none) return false;
  if (a.access == Access::atomic && b.access == Access::atomic) return false;
  return a.access != Access::read || b.access != Access::read;
}

}  // namespace

Races::Races(const Kernel& kernel)
    : n_blocks_(kernel.blocks), n_threads_(kernel.threads), order_(n_of(kernel.threads)) {}

void Races::begin_block(uint32_t block) {
  order_.begin_block(block);
  barrier_ = {};
}

void Races::block_barrier(Site site) {
  order_.block_barrier();
  barrier_ = site;
}

template <class Body>
void Races::for_each_cell(const void* p, size_t bytes, const Body& body) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(p);
  const uintptr_t offset = address - reinterpret_cast<uintptr_t>(running.shared);
  const bool shared = offset < running.shared_bytes;
  uintptr_t at = shared ? offset : address;
  for (const uintptr_t end = at + bytes; at < end;) {
    const uint32_t block = uint32_t(order_.now(0).block);
    Page& page =
        shared ? shadow_.of_shared(at / Page::kBytes, block) : shadow_.of_memory(at / Page::kBytes);
    const size_t first = at % Page::kBytes;
    const size_t n = std::min<size_t>(end - at, Page::kBytes - first);
    const int zeros = std::countr_zero(first | n);
    page.refine(zeros >= 4 ? 16 : zeros >= 2 ? 4 : 1);
    const uint32_t granule = page.granule;
    for (size_t i = first; i < first + n; i += granule) {
      const uintptr_t before = shared ? address - offset : 0;
      body(page.cells[i / granule], Piece{before + at - first + i, granule, shared});
    }
    at += n;
  }
}

void Races::access(const void* p, size_t bytes, Access access, const void* code) {
  const auto* const at = static_cast<const unsigned char*>(p);
  if (size_t(at - running.stack) < running.stack_bytes) return;  // the thread's own
  note(p, bytes, {order_.now(running.thread->number), code_of(code), access, false});
}

void Races::begin_product_read(const void* at, size_t bytes, int group, const void* code) {
  const Moment when = order_.product(running.thread->number, group);
  note(at, bytes, {when, code_of(code), Access::read, true});
}

void Races::end_product_read(const void* at, size_t bytes, int group, const void* code) {
  const Moment when = order_.product(running.thread->number, group);
  const Record ended = {when, code_of(code), Access::read, false};
  for_each_cell(at, bytes, [&](Cell& cell, const Piece&) { cell.end_reads(ended); });
}

// Most accesses repeat what the same thread has just done.
void Races::note(const void* p, size_t bytes, const Record& mine) {
  for_each_cell(p, bytes, [&](Cell& cell, const Piece& piece) {
    if (mine.access == Access::write) {
      const bool again = cell.write.when == mine.when && !cell.has_readers();
      if (again && cell.write.access == Access::write && !cell.write.pending) return;
      check(cell, mine, piece);
      cell.add_write(mine);
    } else {
      if (cell.last.holds(mine)) return;
      check(cell, mine, piece);
      cell.add_reader(mine, order_, running.thread->number);
    }
  });
}

void Races::atomic(const void* at, size_t bytes, const void* code) {
  order_.atomic(running.thread->number, at, bytes, is_shared(at, bytes));
  access(at, bytes, Access::atomic, code);
}

void Races::begin_write(void* at, size_t bytes, const void* code) {
  access(at, bytes, Access::write, code);
  for_each_cell(at, bytes, [](Cell& cell, const Piece&) { cell.write.pending = true; });
}

void Races::end_write(void* at, size_t bytes, Moment when) {
  for_each_cell(at, bytes, [&](Cell& cell, const Piece&) {
    cell.write.pending = false;
    cell.write.when = when;
  });
}

void Races::check(const Cell& cell, const Record& mine, const Piece& piece) {
  check_one(cell.write, mine, piece);
  check_readers(cell.last, mine, piece);
  for (const Readers& group : cell.more) check_readers(group, mine, piece);
}

void Races::check_one(const Record& theirs, const Record& mine, const Piece& piece) {
  if (conflict(mine, theirs) && !is_ordered(theirs, piece)) report(theirs, mine, piece);
}

void Races::check_readers(const Readers& theirs, const Record& mine, const Piece& piece) {
  if (!conflict(mine, theirs.record)) return;
  const Moment when = theirs.record.when;
  uint32_t rest = theirs.lanes;
  if (!theirs.record.pending && order_.is_here(when)) {
    rest = order_.not_before_here(when, rest, running.thread->number);
  }
  for (; rest != 0; rest &= rest - 1) {
    check_one(theirs.of_lane(std::countr_zero(rest)), mine, piece);
  }
}

bool Races::is_ordered(const Record& theirs, const Piece& piece) const {
  if (theirs.pending) return false;
  const uintptr_t atomic_at = theirs.access == Access::atomic ? piece.at : 0;
  return order_.is_before(theirs.when, running.thread->number, atomic_at);
}

void order_lanes(const Meeting*, uint32_t mask) {
  if (running.races == nullptr) return;
  running.races->order().warp_barrier(running.thread->number / 32 * 32, mask);
}

void note_fence() {
  const Unwatched own;
  if (running.races != nullptr) running.races->order().fence(running.thread->number);
}

void note_atomic(const void* at, size_t bytes, const void* code) {
  const Unwatched own;
  if (running.races != nullptr) running.races->atomic(at, bytes, code);
}

}  // namespace simt
