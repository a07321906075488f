// engine/core/thread_pool.h — a persistent pool for short, equal pieces of work.
// The calling thread takes part, so a pool of n threads starts n - 1. Between calls the workers
// spin for a moment and then sleep: a decode step issues hundreds of calls back to back.
#pragma once
#include <cstdint>
#include <memory>

namespace lm {

class ThreadPool {
 public:
  explicit ThreadPool(int n_threads);  // >= 1; fewer where the system refuses some
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  // Calls task(i, thread) once for every i in [0, n), thread in [0, size()), and returns when all
  // are done. Which thread runs which i is not defined: results must not depend on it. Must not be
  // called from inside a task, nor from two threads at once.
  template <class Task>
  void parallel_for(int64_t n, const Task& task) {
    run(
        n,
        [](const void* self, int64_t i, int thread) {
          (*static_cast<const Task*>(self))(i, thread);
        },
        &task);
  }

 private:
  using Call = void (*)(const void* self, int64_t i, int thread);
  void run(int64_t n, Call call, const void* self);

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lm
