#include "engine/core/thread_pool.h"

#include <atomic>
#include <chrono>
#include <exception>
#include <thread>
#include <vector>

#include "engine/core/check.h"
#include "engine/core/machine.h"

namespace lm {
namespace {

// How long a thread spins before it sleeps. Between two calls of a decode step pass microseconds,
// between two steps (the choice of a token) a few hundred; to wake a sleeping thread takes tens.
constexpr std::chrono::microseconds kSpinTime{300};
constexpr int kPausesPerLook = 64;  // between two looks at the clock

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

// Spins until done(), no longer than kSpinTime; tells whether it was.
template <class Done>
bool spin_until(const Done& done) {
  using Clock = std::chrono::steady_clock;
  Clock::time_point deadline{};
  for (int spin = 1; !done(); ++spin) {
    pause();
    if (spin % kPausesPerLook != 0) continue;
    const Clock::time_point now = Clock::now();
    if (deadline == Clock::time_point{}) deadline = now + kSpinTime;
    if (now >= deadline) return done();
  }
  return true;
}

}  // namespace

// One call at a time, described by `state`: its number, whether it can still be joined, and how
// many workers are in it. A worker joins when it comes in time; the caller closes the call when no
// index is left, and waits for those that joined. So nobody waits for a thread that the system has
// not let run, and nobody makes a system call unless somebody sleeps.
struct ThreadPool::Impl {
  static constexpr uint32_t kActive = (1u << 11) - 1;  // workers in the call
  static constexpr uint32_t kOpen = 1u << 11;
  static constexpr uint32_t kNumber = 1u << 12;  // the rest counts calls, and wraps

  Call call = nullptr;
  const void* self = nullptr;
  int64_t n = 0;
  bool may_spin = true;
  std::atomic<bool> stopping{false};
  alignas(64) std::atomic<int64_t> next{0};  // the first index that nobody took
  alignas(64) std::atomic<uint32_t> state{0};
  alignas(64) std::atomic<uint32_t> times_left{0};  // by the last worker, a closed call
  std::vector<std::thread> workers;

  static uint32_t number(uint32_t state) { return state / kNumber; }

  void take_work(int thread) {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) call(self, i, thread);
  }

  // Returns the number of a call other than `seen`.
  uint32_t wait_for_call(uint32_t seen) {
    const auto changed = [&] { return number(state.load(std::memory_order_acquire)) != seen; };
    if (may_spin) spin_until(changed);
    for (uint32_t now; number(now = state.load(std::memory_order_acquire)) == seen;) {
      state.wait(now, std::memory_order_acquire);
    }
    return number(state.load(std::memory_order_acquire));
  }

  bool join() {
    uint32_t now = state.load(std::memory_order_relaxed);
    while ((now & kOpen) != 0) {
      if (state.compare_exchange_weak(now, now + 1, std::memory_order_acquire)) return true;
    }
    return false;
  }

  void leave() {
    const uint32_t before = state.fetch_sub(1, std::memory_order_acq_rel);
    if ((before & (kOpen | kActive)) != 1) return;
    times_left.fetch_add(1, std::memory_order_release);
    times_left.notify_one();
  }

  // A new call, or with stopping set none.
  void publish(uint32_t open) {
    const uint32_t now = state.load(std::memory_order_relaxed) / kNumber * kNumber;
    state.store((now + kNumber) | open, std::memory_order_release);
    state.notify_all();
  }

  void close() {
    state.fetch_and(~kOpen, std::memory_order_relaxed);
    const auto left = [&] { return (state.load(std::memory_order_acquire) & kActive) == 0; };
    if (may_spin && spin_until(left)) return;
    while (!left()) {
      const uint32_t times = times_left.load(std::memory_order_acquire);
      if (!left()) times_left.wait(times, std::memory_order_acquire);
    }
  }

  void work(int thread) {
    for (uint32_t seen = 0;;) {
      seen = wait_for_call(seen);
      if (stopping.load()) return;
      if (!join()) continue;
      take_work(thread);
      leave();
    }
  }
};

ThreadPool::ThreadPool(int n_threads) : impl_(std::make_unique<Impl>()) {
  LM_CHECK(n_threads >= 1);
  // Where threads share a core, one that spins keeps it from one that works.
  impl_->may_spin = n_threads <= usable_threads();
  try {
    for (int thread = 1; thread < n_threads; ++thread) {
      impl_->workers.emplace_back([this, thread] { impl_->work(thread); });
    }
  } catch (const std::exception&) {
    // The system gives no more threads, or memory for them: those that run do all the work.
  }
}

ThreadPool::~ThreadPool() {
  impl_->stopping.store(true);
  impl_->publish(0);
  for (std::thread& worker : impl_->workers) worker.join();
}

int ThreadPool::size() const {
  return int(impl_->workers.size()) + 1;
}

void ThreadPool::run(int64_t n, Call call, const void* self) {
  Impl& m = *impl_;
  if (m.workers.empty() || n <= 1) {
    for (int64_t i = 0; i < n; ++i) call(self, i, 0);
    return;
  }
  m.call = call;
  m.self = self;
  m.n = n;
  m.next.store(0, std::memory_order_relaxed);
  m.publish(Impl::kOpen);
  m.take_work(0);
  m.close();
}

}  // namespace lm
