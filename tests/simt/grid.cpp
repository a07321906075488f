#include "tests/simt/grid.h"

#include <malloc.h>

#include <algorithm>
#include <bit>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "tests/simt/address_sanitizer.h"
#include "tests/simt/kernel_name.h"
#include "tests/simt/races/races.h"

constinit uint3 threadIdx = {}, blockIdx = {};
constinit dim3 blockDim, gridDim;

namespace simt {

constinit Running running = {};

namespace {

constexpr size_t kCanaryBytes = SIMT_ASAN ? 0 : 64;  // behind shared memory
constexpr unsigned char kPoison = 0xff;

void set_running(Thread* thread) {
  running.thread = thread;
  if (thread != nullptr) threadIdx = thread->index;
}

uint64_t next_random(uint64_t& state) {  // splitmix64
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

bool same(Site a, Site b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

}  // namespace

const char* file_name(Site site) {
  const char* const slash = std::strrchr(site.file, '/');
  return slash != nullptr ? slash + 1 : site.file;
}

// The fibers, of which only the one that runs is ever inside these functions.
struct Engine {
  Fiber home;
  Fiber* now = nullptr;     // null: home
  Fiber* failed = nullptr;  // where the last error was found
  std::vector<std::unique_ptr<Fiber>> all;
  std::vector<Fiber*> idle;

  Fiber* take() {
    if (idle.empty()) {
      all.push_back(std::make_unique<Fiber>(&fiber_main, all.size()));
      return all.back().get();
    }
    Fiber* const fiber = idle.back();
    idle.pop_back();
    return fiber;
  }
  void go(Fiber& to) {
    Fiber& from = now != nullptr ? *now : home;
    now = &to == &home ? nullptr : &to;
    running.stack = to.stack();
    running.stack_bytes = to.stack_bytes();
    if (&from != &to) Fiber::switch_to(from, to);
  }
  // Continues `thread`; with null, what started the grid.
  void run(Thread* thread) {
    set_running(thread);
    if (thread == nullptr) return go(home);
    if (thread->fiber == nullptr) thread->fiber = take();
    go(*thread->fiber);
  }
  // Grids come and go by the thousand: what they give back to malloc stays in the process.
  Engine() {
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
  }
  static Engine& get() {
    static Engine engine;
    return engine;
  }
  // Runs threads from begin to end; a fiber that has ended one goes on with the next.
  [[noreturn]] static void fiber_main();
  void abandon(Grid& grid);
};

void Engine::fiber_main() {
  Engine& engine = get();
  for (;;) {
    Grid& grid = *running.grid;
    Fiber* const me = engine.now;
    if (running.thread != nullptr) {  // null: the grid begins or goes on
      watching = running.races;
      grid.kernel_.body();
      watching = nullptr;
      grid.end_thread(*running.thread);
    }
    Thread* const next = grid.pick();
    if (next != nullptr && next->fiber == nullptr) {
      next->fiber = me;
      set_running(next);
    } else {
      engine.idle.push_back(me);
      engine.run(next);
    }
  }
}

// The stacks of the threads are given up where they stand.
void Engine::abandon(Grid& grid) {
  const auto give_up = [this](Fiber* fiber) {
    fiber->reset();
    idle.push_back(fiber);
  };
  for (Thread& thread : grid.threads_) {
    if (thread.fiber == failed) failed = nullptr;
    if (thread.fiber != nullptr) give_up(thread.fiber);
    thread.fiber = nullptr;
  }
  if (failed != nullptr) give_up(failed);
  failed = nullptr;
}

void fail(const char* format, ...) {
  char message[300];
  va_list values;
  va_start(values, format);
  std::vsnprintf(message, sizeof message, format, values);
  va_end(values);
  fail_with(message);
}

void fail_with(const char* message) {
  watching = nullptr;
  running.grid->report(message);
  Engine& engine = Engine::get();
  engine.failed = engine.now;
  engine.go(engine.home);
  std::abort();  // nobody continues a thread that failed
}

void Grid::Free::operator()(unsigned char* p) const {
  std::free(p);
}

Grid::Grid(Kernel kernel)
    : kernel_(std::move(kernel)), schedule_(schedule()), random_(schedule_seed()) {
  const dim3 n = kernel_.threads;
  threads_.resize(size_t(n.x) * n.y * n.z);
  warps_.resize((threads_.size() + 31) / 32);
  for (size_t i = 0; i < threads_.size(); ++i) {
    Thread& t = threads_[i];
    const unsigned at = unsigned(i);
    t.index = {at % n.x, at / n.x % n.y, at / (n.x * n.y)};
    t.number = int(i);
    t.lane = int(i % 32);
    t.warp = &warps_[i / 32];
    t.warp->lanes |= 1u << t.lane;
  }
  block_order_.resize(size_t(kernel_.blocks.x) * kernel_.blocks.y * kernel_.blocks.z);
  std::iota(block_order_.begin(), block_order_.end(), 0u);
  if (schedule_ == Schedule::reverse) std::reverse(block_order_.begin(), block_order_.end());
  if (schedule_ == Schedule::random) {
    for (size_t i = block_order_.size(); i > 1; --i) {
      std::swap(block_order_[i - 1], block_order_[next_random(random_) % i]);
    }
  }
  shared_.reset(static_cast<unsigned char*>(std::malloc(kernel_.shared_bytes + kCanaryBytes)));
  if (race_detection()) races_ = std::make_unique<Races>(kernel_);
}

Grid::~Grid() {
  if (!done_) Engine::get().abandon(*this);
}

void Grid::begin_block() {
  const unsigned at = block_order_[next_block_++];
  const dim3 n = kernel_.blocks;
  block_index_ = {at % n.x, at / n.x % n.y, at / (n.x * n.y)};
  blockIdx = block_index_;
  std::memset(shared_.get(), kPoison, kernel_.shared_bytes + kCanaryBytes);
  if (races_ != nullptr) races_->begin_block(at);
  for (Warp& warp : warps_) {
    warp.runnable = warp.lanes;
    warp.meeting = warp.exited = 0;
  }
  n_exited_ = n_at_barrier_ = 0;
  current_warp_ = schedule_ == Schedule::reverse ? warps_.size() - 1 : 0;
}

void Grid::end_block() {
  if (!bulk_copies.empty()) fail("ends before its bulk copies have arrived");
  const unsigned char* const end = shared_.get() + kernel_.shared_bytes;
  const bool whole = std::all_of(end, end + kCanaryBytes, [](auto b) { return b == kPoison; });
  if (!whole) {
    fail("wrote behind its %zu bytes of shared memory", kernel_.shared_bytes);
  }
}

void Grid::end_thread(Thread& thread) {
  Warp& warp = *thread.warp;
  const uint32_t bit = 1u << thread.lane;
  for (uint32_t rest = warp.meeting; rest != 0; rest &= rest - 1) {
    const Meeting& other = warp.meetings[std::countr_zero(rest)];
    if ((other.mask & bit) != 0) {
      fail("exits while its warp waits for it in %s at %s:%d (mask %08x)", other.what,
           file_name(other.site), other.site.line, other.mask);
    }
  }
  if (kernel_.overlaps && !thread.waited_for_previous) {
    fail("may start early but never waits for the kernel before it");
  }
  warp.exited |= bit;
  ++n_exited_;
  thread.fiber = nullptr;
  thread.waited_for_previous = false;
  thread.n_commits = thread.n_product_commits = 0;
  thread.copies.clear();
  thread.products.clear();
}

// The thread to go on with, or null when the grid is done or must wait for the one before it.
Thread* Grid::pick() {
  for (;;) {
    if (Thread* const thread = pick_runnable()) return thread;
    if (n_exited_ == int(threads_.size())) {
      end_block();
      done_ = next_block_ == block_order_.size();
      if (done_ || in_prologue_) return nullptr;
      begin_block();
    } else if (in_prologue_) {
      return nullptr;
    } else {
      report_stuck();
    }
  }
}

Thread* Grid::pick_runnable() {
  const size_t n = warps_.size();
  size_t w = schedule_ == Schedule::random ? next_random(random_) % n : current_warp_;
  for (size_t tries = 0; tries < n; ++tries) {
    const uint32_t runnable = warps_[w].runnable;
    if (runnable != 0) {
      int lane = std::countr_zero(runnable);
      if (schedule_ == Schedule::reverse) lane = 31 - std::countl_zero(runnable);
      if (schedule_ == Schedule::random) {
        const int turn = int(next_random(random_) % 32);
        lane = (std::countr_zero(std::rotr(runnable, turn)) + turn) % 32;
      }
      warps_[w].runnable &= ~(1u << lane);
      current_warp_ = w;
      return &threads_[w * 32 + size_t(lane)];
    }
    if (schedule_ == Schedule::reverse) {
      w = w == 0 ? n - 1 : w - 1;
    } else {
      w = w + 1 == n ? 0 : w + 1;
    }
  }
  return nullptr;
}

void Grid::report_stuck() {
  for (Thread& thread : threads_) {
    const uint32_t bit = 1u << thread.lane;
    running.thread = &thread;
    if (thread.at_barrier) {
      const int n = int(threads_.size());
      fail("waits at the barrier at %s:%d, which %d of %d threads never reach (%d have exited)",
           file_name(thread.site), thread.site.line, n - n_at_barrier_, n, n_exited_);
    }
    if (thread.asleep_for != nullptr) {
      fail("waits at %s:%d for a phase of a barrier in shared memory that never ends",
           file_name(thread.site), thread.site.line);
    }
    if ((thread.warp->meeting & bit) != 0) {
      const Meeting& m = thread.warp->meetings[thread.lane];
      uint32_t missing = m.mask;
      for (int lane = 0; lane < 32; ++lane) {
        const bool here = (thread.warp->meeting >> lane & 1) != 0;
        if (here && thread.warp->meetings[lane].mask == m.mask) missing &= ~(1u << lane);
      }
      fail("waits in %s at %s:%d for lanes %08x, of which %08x never come", m.what,
           file_name(m.site), m.site.line, m.mask, missing);
    }
  }
  fail("waits for nothing that could happen");
}

void Grid::report(const char* message) {
  failed_ = true;
  const uint3 b = block_index_;
  const uint3 t = running.thread != nullptr ? running.thread->index : uint3{};
  char place[120];
  std::snprintf(place, sizeof place, ", block (%u,%u,%u), thread (%u,%u,%u): ", b.x, b.y, b.z, t.x,
                t.y, t.z);
  report_outside_kernel("kernel " + kernel_name(kernel_.address) + place + message);
}

void Grid::wait_for_block(Thread& thread, Site site) {
  thread.at_barrier = true;
  thread.site = site;
  if (n_at_barrier_ == 0) barrier_site_ = site;
  if (!same(site, barrier_site_)) {
    fail("waits at the barrier at %s:%d while others wait at that at %s:%d", file_name(site),
         site.line, file_name(barrier_site_), barrier_site_.line);
  }
  if (++n_at_barrier_ == int(threads_.size())) {
    n_at_barrier_ = 0;
    if (races_ != nullptr) races_->block_barrier(site);
    for (Thread& each : threads_) each.at_barrier = false;
    for (Warp& warp : warps_) warp.runnable = warp.lanes;
  }
}

void Grid::meet(Thread& thread, const Meeting& meeting) {
  Warp& warp = *thread.warp;
  const uint32_t mask = meeting.mask;
  const auto refuse = [&](const char* why) {
    fail("%s at %s:%d: mask %08x %s", meeting.what, file_name(meeting.site), meeting.site.line,
         mask, why);
  };
  if ((mask >> thread.lane & 1) == 0) refuse("does not name the lane itself");
  if ((mask & ~warp.lanes) != 0) refuse("names lanes that the block does not have");
  if ((mask & warp.exited) != 0) refuse("names a lane that has exited");
  warp.meetings[thread.lane] = meeting;
  warp.meeting |= 1u << thread.lane;
  if ((warp.meeting & mask) != mask) return;
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    const Meeting& other = warp.meetings[std::countr_zero(rest)];
    if (other.mask != mask) return;  // waits for others first
    if (other.resolve != meeting.resolve) {
      refuse("names a lane that waits in another instruction");
    }
  }
  meeting.resolve(warp.meetings, mask);
  warp.meeting &= ~mask;
  warp.runnable |= mask;
}

// Enters the grid from outside, until it is done or paused.
void Grid::enter() {
  running.grid = this;
  blockIdx = block_index_;
  blockDim = kernel_.threads;
  gridDim = kernel_.blocks;
  running.shared = shared_.get();
  running.shared_bytes = kernel_.shared_bytes;
  running.races = races_.get();
  if (next_block_ == 0) begin_block();
  running.thread = nullptr;
  Engine::get().go(*Engine::get().take());
  if (failed_) {
    Engine::get().abandon(*this);
    done_ = true;
  }
  running = {};
  watching = nullptr;
}

void Grid::run_prologue() {
  in_prologue_ = true;
  enter();
  in_prologue_ = false;
}

bool Grid::finish() {
  for (Thread& thread : threads_) {
    if (!thread.waits_for_previous) continue;
    thread.waits_for_previous = false;
    thread.warp->runnable |= 1u << thread.lane;
  }
  if (!done_) enter();
  return !failed_;
}

void wait_for_block(Site site) {
  const Unwatched own;
  Grid& grid = *running.grid;
  grid.wait_for_block(*running.thread, site);
  Engine::get().run(grid.pick());
}

void meet_lanes(const Meeting& meeting) {
  const Unwatched own;
  Grid& grid = *running.grid;
  grid.meet(*running.thread, meeting);
  Engine::get().run(grid.pick());
}

void wait_for_previous_kernel() {
  const Unwatched own;
  Grid& grid = *running.grid;
  running.thread->waited_for_previous = true;
  if (!grid.in_prologue_) return;
  running.thread->waits_for_previous = true;
  Engine::get().run(grid.pick());
}

void sleep(const void* cause, Site site) {
  const Unwatched own;
  Thread& thread = *running.thread;
  thread.asleep_for = cause;
  thread.site = site;
  Engine::get().run(running.grid->pick());
}

void wake(const void* cause) {
  for (Thread& thread : running.grid->threads_) {
    if (thread.asleep_for != cause) continue;
    thread.asleep_for = nullptr;
    thread.warp->runnable |= 1u << thread.lane;
  }
}

bool is_shared(const void* p, size_t bytes) {
  const auto* const at = static_cast<const unsigned char*>(p);
  return at >= running.shared && at + bytes <= running.shared + running.shared_bytes;
}

}  // namespace simt
