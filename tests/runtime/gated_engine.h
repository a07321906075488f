// tests/runtime/gated_engine.h — an engine whose disk cache does nothing in the background before
// the engine ends: neither is it found out which model this is, nor is anything written.
#pragma once
#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>

#include "tests/runtime/support.h"

namespace lm::test {

class GatedEngine {
 public:
  GatedEngine(std::unique_ptr<Instance> instance, const std::filesystem::path& folder) {
    EngineOptions with_disk;
    with_disk.disk = require_ok(DiskCache::open({.folder = folder}));
    with_disk.disk->run_in_background([this](const std::atomic<bool>&) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return open_; });
    });
    engine_ = Engine::start(std::move(instance), std::move(with_disk));
  }
  ~GatedEngine() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  GatedEngine(const GatedEngine&) = delete;
  GatedEngine& operator=(const GatedEngine&) = delete;

  Engine& engine() { return *engine_; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  std::unique_ptr<Engine> engine_;  // ends first, when the gate is open
};

}  // namespace lm::test
