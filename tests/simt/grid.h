// tests/simt/grid.h — one launch of a kernel, run on the CPU.
//
// Every CUDA thread is started on a fiber and runs until it must wait for others: at a barrier of
// the block or at a meeting of lanes (a shuffle, a vote, a matrix product). The last to arrive at a
// meeting does the work of all; nobody reads another's registers later. A thread that never waits
// costs no switch. Blocks run one after the other.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/simt/fiber.h"
#include "tests/simt/simt.h"
#include "tests/simt/vectors.h"

namespace simt {

class Races;

struct Kernel {
  const void* address = nullptr;
  dim3 blocks, threads;
  size_t shared_bytes = 0;
  bool overlaps = false;       // may start before the kernel in front of it has finished
  std::function<void()> body;  // what one thread does; holds the arguments by value
};

struct Site {
  const char* file;
  int line;
};
const char* file_name(Site site);  // without its folder

struct Meeting {
  uint32_t mask;  // the lanes that meet
  const char* what;
  Site site;
  void* operand;  // of this lane
  // Does the work of all lanes of `mask`, given the 32 meetings of the warp.
  void (*resolve)(const Meeting* lanes, uint32_t mask);
};

struct Warp {
  uint32_t lanes = 0;     // that the block has
  uint32_t runnable = 0;  // started or not
  uint32_t meeting = 0;   // wait for others of their mask
  uint32_t exited = 0;
  Meeting meetings[32] = {};
};

struct PendingCopy {
  void* to;
  const void* from;
  bool valid;  // zeros otherwise
  int group;   // index of its commit
};

struct BulkCopy {
  void* to;
  const void* from;
  size_t bytes;
  const void* barrier;
};

struct PendingProduct {
  const void* code;  // that issued it
  float* sums;
  int n_sums;
  uint64_t a, b;  // operands
  int group;      // index of its commit
};

struct Thread {
  uint3 index = {};
  int number = 0;  // in the block
  int lane = 0;
  Warp* warp = nullptr;
  Fiber* fiber = nullptr;  // from its start to its end
  bool waited_for_previous = false;
  bool waits_for_previous = false;
  bool at_barrier = false;
  Site site = {};
  int n_commits = 0;
  std::vector<PendingCopy> copies;
  const void* asleep_for = nullptr;  // see sleep
  std::vector<PendingProduct> products;
  int n_product_commits = 0;
  int products_due = 0;  // groups before this one are waited for
};

// What the thread that runs has done wrong. Its stack is given up: nothing on it may own memory.
[[noreturn, gnu::format(printf, 1, 2)]] void fail(const char* format, ...);
[[noreturn]] void fail_with(const char* message);

class Grid {
 public:
  explicit Grid(Kernel kernel);
  ~Grid();
  Grid(const Grid&) = delete;
  Grid& operator=(const Grid&) = delete;

  // Runs the first block as far as it gets without the kernel in front.
  void run_prologue();
  // Runs all of it. False: an error was reported.
  bool finish();

  std::vector<BulkCopy> bulk_copies;  // of the block, under way

 private:
  friend struct Engine;
  friend void fail_with(const char* message);
  friend void wait_for_block(Site site);
  friend void meet_lanes(const Meeting& meeting);
  friend void wait_for_previous_kernel();
  friend void sleep(const void* cause, Site site);
  friend void wake(const void* cause);

  void enter();
  void begin_block();
  void end_block();
  void end_thread(Thread& thread);
  Thread* pick();
  Thread* pick_runnable();
  void wait_for_block(Thread& thread, Site site);
  void meet(Thread& thread, const Meeting& meeting);
  void report(const char* message);
  [[noreturn]] void report_stuck();

  Kernel kernel_;
  Schedule schedule_;
  uint64_t random_;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<uint32_t> block_order_;
  size_t next_block_ = 0;
  uint3 block_index_ = {};
  size_t current_warp_ = 0;
  int n_exited_ = 0, n_at_barrier_ = 0;
  Site barrier_site_ = {};
  std::unique_ptr<Races> races_;  // null: nobody looks for them
  bool in_prologue_ = false, done_ = false, failed_ = false;
  struct Free {
    void operator()(unsigned char* p) const;
  };
  std::unique_ptr<unsigned char, Free> shared_;
};

// What was set for the grids to come (see simt.h).
Schedule schedule();
uint64_t schedule_seed();
// To the error handler, as it is: what went wrong outside kernels.
void report_outside_kernel(const std::string& message);

// Who runs. Kernels run on one thread of the host at a time.
struct Running {
  Grid* grid;
  Thread* thread;
  unsigned char* shared;
  size_t shared_bytes;
  Races* races;                // of the grid
  const unsigned char* stack;  // of the thread
  size_t stack_bytes;
};
extern constinit Running running;
// Who sees the loads and stores of this thread of the host; null: it runs no kernel that is
// watched.
extern constinit thread_local Races* watching;

// For the built-in functions; all of them are called on the fiber of a thread.
void wait_for_block(Site site);
void meet_lanes(const Meeting& meeting);
// What __syncwarp does where lanes meet: other meetings put no memory in order.
void order_lanes(const Meeting* lanes, uint32_t mask);
void note_fence();
void note_atomic(const void* at, size_t bytes, const void* code);
void wait_for_previous_kernel();
// Until another thread of the block wakes those that sleep for `cause`.
void sleep(const void* cause, Site site);
void wake(const void* cause);
bool is_shared(const void* p, size_t bytes);

}  // namespace simt

// The built-in variables of a kernel; set before a thread runs or goes on.
extern constinit uint3 threadIdx, blockIdx;
extern constinit dim3 blockDim, gridDim;
