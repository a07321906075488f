// tests/simt/races/races.h — finds two threads of a grid that touch the same bytes, at least one of
// them writing, with nothing that puts them in order (order.h), whatever order they ran in.
//
// Loads and stores of kernels are seen where their source was compiled with -fsanitize=thread: the
// compiler calls the functions of hooks.cpp (not the runtime of ThreadSanitizer, which is not
// linked; Linux's KCSAN uses the compiler in the same way). What the emulation does for a kernel
// (ldmatrix, asynchronous copies and products, atomic operations) it tells itself.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "tests/simt/grid.h"
#include "tests/simt/races/order.h"
#include "tests/simt/races/shadow.h"

namespace simt {

class Races {
 public:
  explicit Races(const Kernel& kernel);

  void begin_block(uint32_t block);

  // What the thread that runs does, and where in the program.
  void access(const void* at, size_t bytes, Access access, const void* code);
  // A product's read, which goes on until somebody waits for its group.
  void begin_product_read(const void* at, size_t bytes, int group, const void* code);
  void end_product_read(const void* at, size_t bytes, int group, const void* code);
  void atomic(const void* at, size_t bytes, const void* code);
  // A write that goes on until somebody waits for it; then, when it can have ended at the latest.
  void begin_write(void* at, size_t bytes, const void* code);
  void end_write(void* at, size_t bytes, Moment when);

  void block_barrier(Site site);
  Order& order() { return order_; }

 private:
  struct Piece {
    uintptr_t at;
    uint32_t bytes;
    bool shared;
  };
  void note(const void* at, size_t bytes, const Record& mine);
  template <class Body>
  void for_each_cell(const void* at, size_t bytes, const Body& body);
  void check(const Cell& cell, const Record& mine, const Piece& piece);
  void check_one(const Record& theirs, const Record& mine, const Piece& piece);
  void check_readers(const Readers& theirs, const Record& mine, const Piece& piece);
  bool is_ordered(const Record& theirs, const Piece& piece) const;
  std::string describe(const Record& theirs, const Record& mine, const Piece& piece) const;
  [[noreturn]] void report(const Record& theirs, const Record& mine, const Piece& piece);

  dim3 n_blocks_, n_threads_;
  Order order_;
  Shadow shadow_;
  Site barrier_ = {};  // the last that the block has passed
  std::string message_;
};

// While it lives, what is done is the emulation's own and not a kernel's.
class Unwatched {
 public:
  Unwatched() : before_(std::exchange(watching, nullptr)) {}
  ~Unwatched() { watching = before_; }
  Unwatched(const Unwatched&) = delete;
  Unwatched& operator=(const Unwatched&) = delete;

 private:
  Races* before_;
};

// Of `code`, as far as it can be told: "file:line", and the function's it was inlined into.
std::string source_of(uint32_t code);
uint32_t code_of(const void* code);

}  // namespace simt
