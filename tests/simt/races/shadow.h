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
  uint32_t code = 0;  // where in the program, see CodePlace
  Access access = Access::none;
  bool pending = false;  // an asynchronous write that nobody has waited for
};

// The last write, and readers (and atomic operations) since then. Of those it is enough to keep
// two that are not in order, in different warps if there are, and one of another block: whoever
// comes later and is in no order with one that is not kept is in none with one of these either,
// except where some lanes of a warp meet without the others.
struct Cell {
  Record write, last, other, of_other_block;

  void add_write(const Record& record);
  void add_reader(const Record& record);
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
