// tests/simt/races/shadow.h — what was done last to each piece of memory.
// Memory is looked at in pages, and each page in pieces of 16, 4 or 1 bytes: as small as the
// smallest access to it so far.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "tests/simt/races/order.h"

namespace simt {

enum class Access : uint8_t { none, read, write, atomic };

struct Record {
  Moment when = {};
  uint32_t code = 0;  // where in the program: see code_of
  Access access = Access::none;
  bool pending = false;  // asynchronous, and nobody has waited for it
};

// Actors of one warp (of 32 neighbours) that have done the same in the same tick.
struct Readers {
  Record record;  // of the first of them
  uint32_t lanes = 0;

  bool none() const { return lanes == 0; }
  bool holds(const Record& one) const;
  Record of_lane(int lane) const;
};

// The last write, and readers (and atomic operations) since then: who comes later must be in order
// with each of them. One that is in order before a later one of its kind is forgotten (FastTrack's
// rule); so is every other of its kind where a block that has ended let nobody know of one: nothing
// can be in order with that any more. Of blocks that did let others know, the last
// kMostGroups groups are kept.
struct Cell {
  static constexpr size_t kMostGroups = 16;
  Record write;
  Readers last;  // none: nor are there more
  std::vector<Readers> more;

  void add_write(const Record& record);
  void add_reader(const Record& record, const Order& order, int thread);
  // The asynchronous reads of that actor and tick have ended, at the moment of `record`.
  void end_reads(const Record& record);
  bool has_readers() const { return !last.none(); }

 private:
  Readers* group_of(const Record& record);
  void leave_block(const Order& order);
};

struct Page {
  static constexpr size_t kBytes = 512;
  uint32_t block = 0;  // that shared memory belongs to
  uint32_t granule = 0;
  std::vector<Cell> cells;

  // Makes pieces of at most `bytes`.
  void refine(uint32_t bytes);
};

class Shadow {
 public:
  // The pages of shared memory and of all other memory, by their number.
  Page& of_shared(size_t number, uint32_t block);
  Page& of_memory(uintptr_t number);

 private:
  std::vector<Page> shared_;
  std::unordered_map<uintptr_t, Page> pages_;
  struct Recent {
    uintptr_t number = 0;
    Page* page = nullptr;
  };
  std::array<Recent, 64> recent_;
};

}  // namespace simt
