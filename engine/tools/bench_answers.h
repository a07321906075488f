// engine/tools/bench_answers.h — requests to an engine as users send them, and when what of the
// answers came.
#pragma once
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/token.h"
#include "engine/runtime/engine.h"

namespace lm {

struct BenchAnswer {
  std::vector<TokenId> tokens;
  std::vector<double> seconds;  // [tokens]  when each came, since the first request
  std::vector<uint64_t> steps;  // [tokens]  the engine's forward pass that each came from
  Timings timings;
  Finish finish = Finish::none;
  std::string error;
  ErrorCode error_code = ErrorCode::device;
};

// Of n requests at most, in an engine that ends later.
class BenchAnswers {
 public:
  explicit BenchAnswers(size_t n) { answers_.reserve(n); }
  ~BenchAnswers();  // waits for their ends

  Result<RequestId> ask(Engine& engine, Request request);
  void wait_for_tokens(size_t n);  // of each, or its end
  // Of all, in the order in which they were asked for; an error is an answer's.
  Result<std::vector<BenchAnswer>> wait();

 private:
  using Clock = std::chrono::steady_clock;

  void hear(BenchAnswer& answer, const TokenEvent& event);
  bool all_ended() const;

  Clock::time_point start_ = Clock::now();
  std::mutex mutex_;  // of the answers
  std::condition_variable changed_;
  std::vector<BenchAnswer> answers_;
};

// One request, alone.
Result<BenchAnswer> answer(Engine& engine, Request request);

}  // namespace lm
