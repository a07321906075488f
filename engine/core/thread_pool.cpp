#include "engine/core/thread_pool.h"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/core/check.h"

namespace lm {
namespace {

// Spins before a worker sleeps. Between two calls of a decode step pass microseconds; waking a
// sleeping thread costs tens of them.
constexpr int kSpins = 4000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace

struct ThreadPool::Impl {
  // One call, published by raising `epoch`. Workers take indices from `next`.
  Call call = nullptr;
  const void* self = nullptr;
  int64_t n = 0;
  std::atomic<int64_t> next{0};
  std::atomic<int> busy{0};  // workers that have not finished the call
  std::atomic<uint64_t> epoch{0};
  std::atomic<bool> stopping{false};
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> workers;

  void take_work(int thread) {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) call(self, i, thread);
  }

  // Returns the new epoch, or `seen` when the pool stops.
  uint64_t wait_for_work(uint64_t seen) {
    for (int spin = 0; spin < kSpins; ++spin) {
      if (epoch.load(std::memory_order_acquire) != seen || stopping.load()) break;
      pause();
    }
    if (epoch.load(std::memory_order_acquire) == seen && !stopping.load()) {
      std::unique_lock lock(mutex);
      wake.wait(lock,
                [&] { return epoch.load(std::memory_order_acquire) != seen || stopping.load(); });
    }
    return epoch.load(std::memory_order_acquire);
  }

  void work(int thread) {
    for (uint64_t seen = 0;;) {
      const uint64_t now = wait_for_work(seen);
      if (now == seen) return;  // stopping
      seen = now;
      take_work(thread);
      busy.fetch_sub(1, std::memory_order_release);
    }
  }
};

ThreadPool::ThreadPool(int n_threads) : impl_(std::make_unique<Impl>()) {
  LM_CHECK(n_threads >= 1);
  try {
    for (int thread = 1; thread < n_threads; ++thread) {
      impl_->workers.emplace_back([this, thread] { impl_->work(thread); });
    }
  } catch (const std::exception&) {
    // The system gives no more threads, or memory for them: those that run do all the work.
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping.store(true);
  }
  impl_->wake.notify_all();
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
  m.busy.store(int(m.workers.size()), std::memory_order_relaxed);
  {
    const std::lock_guard lock(m.mutex);  // a worker about to sleep must not miss the new epoch
    m.epoch.fetch_add(1, std::memory_order_release);
  }
  m.wake.notify_all();
  m.take_work(0);
  for (int spin = 0; m.busy.load(std::memory_order_acquire) != 0; ++spin) {
    if (spin < kSpins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

}  // namespace lm
