// tests/runtime/support.h — seeded tiny models as files, opened as instances, and everything a
// request sends back.
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "engine/runtime/engine.h"
#include "engine/runtime/instance.h"
#include "tests/reference/tiny_model.h"
#include "tests/support/support.h"

namespace lm::test {

inline Registry cpu_registry() {
  Registry registry;
  registry.add(cpu::registry_entry());
  return registry;
}

// A tiny model on disk for as long as the object lives.
class ModelFile {
 public:
  explicit ModelFile(const TinyModel& model) : path_(folder_.path() / "tiny.gguf") {
    require_ok(write_tiny_model(model).save(path_));
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  TempDir folder_;
  std::filesystem::path path_;
};

// The first variant of an architecture; with heads that blocks of q8_0 fit where the cache has
// them.
inline TinyModel tiny_model_for(std::string_view architecture, DType kv) {
  return kv == DType::q8_0 ? widened(tiny_model(architecture), DType::q8_0)
                           : tiny_model(architecture);
}

inline InstanceOptions options_for(const std::filesystem::path& path) {
  InstanceOptions options;
  options.model_path = path;
  options.backend.n_threads = 1;
  options.n_ctx = 400;
  options.kv_dtype = DType::f32;
  options.block_size = 16;
  options.max_step_tokens = 64;
  return options;
}

inline std::unique_ptr<Instance> open(const InstanceOptions& options) {
  return require_ok(Instance::open(cpu_registry(), options));
}

inline std::vector<TokenId> random_tokens(uint64_t seed, size_t n, int n_vocab) {
  Random random(seed);
  std::vector<TokenId> tokens(n);
  for (TokenId& token : tokens) token = TokenId(random.below(uint64_t(n_vocab)));
  return tokens;
}

// What a request sent back. Filled on the engine thread, read after wait().
struct Answer {
  std::vector<TokenId> tokens;
  std::vector<float> logprobs;
  std::string text, error;
  Finish finish = Finish::none;
  ErrorCode error_code = ErrorCode::io;  // none of a step
  Timings timings;
  int final_events = 0;
  int n_drafted = 0;  // tokens that a draft foresaw

  bool operator==(const Answer& other) const {  // what must not depend on company
    return tokens == other.tokens && logprobs == other.logprobs && text == other.text &&
           finish == other.finish;
  }
};

// Collects the events of one request; outlives it.
class Listener {
 public:
  void attach(Request& request) {
    request.on_token = [this](const TokenEvent& event) { hear(event); };
  }
  const Answer& wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return answer_.finish != Finish::none; });
    return answer_;
  }
  // Waits until at least n tokens have come, or the end.
  void wait_for_tokens(size_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock,
                  [&] { return answer_.tokens.size() >= n || answer_.finish != Finish::none; });
  }

 private:
  void hear(const TokenEvent& event) {
    const std::lock_guard lock(mutex_);
    if (event.token >= 0) {
      answer_.tokens.push_back(event.token);
      answer_.logprobs.push_back(event.logprob);
      answer_.n_drafted += event.drafted ? 1 : 0;
    }
    answer_.text += event.text;
    if (event.finish != Finish::none) {
      ++answer_.final_events;
      answer_.finish = event.finish;
      answer_.timings = event.timings;
      answer_.error = event.error;
      answer_.error_code = event.error_code;
    }
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  Answer answer_;
};

// A request that samples from everything, so that any wrong bit shows soon.
inline Request sampled_request(std::vector<TokenId> prompt, int max_tokens, uint64_t seed) {
  Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.ignore_end = true;
  request.sampling.temperature = 1;
  request.sampling.top_k = 0;
  request.sampling.top_p = 1;
  request.sampling.min_p = 0;
  request.sampling.seed = seed;
  return request;
}

inline Answer run(Engine& engine, Request request) {
  Listener listener;
  listener.attach(request);
  require_ok(engine.submit(std::move(request)));
  return listener.wait();
}

// Waits until the engine thread has done what the last event left to do, and holds nothing; false
// when that takes too long.
inline bool comes_to_rest(Engine& engine) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (std::chrono::steady_clock::now() < end) {
    const EngineTotals totals = engine.totals();
    if (totals.running == 0 && totals.waiting == 0 && totals.free_blocks == totals.blocks &&
        totals.free_pages == totals.pages) {
      return true;
    }
    engine.cancel(0);  // nobody: it looks around once more
    std::this_thread::yield();
  }
  return false;
}

}  // namespace lm::test
