#include "engine/tools/bench_answers.h"

#include <algorithm>
#include <utility>

#include "engine/core/check.h"

namespace lm {

BenchAnswers::~BenchAnswers() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return all_ended(); });
}

Result<RequestId> BenchAnswers::ask(Engine& engine, Request request) {
  BenchAnswer* answer = nullptr;
  {
    const std::lock_guard lock(mutex_);
    LM_CHECK(answers_.size() < answers_.capacity());  // they stay where they are
    answer = &answers_.emplace_back();
  }
  request.on_token = [this, answer](const TokenEvent& event) { hear(*answer, event); };
  Result<RequestId> id = engine.submit(std::move(request));
  if (id.ok()) return id;
  const std::lock_guard lock(mutex_);
  answers_.pop_back();
  return id;
}

void BenchAnswers::hear(BenchAnswer& answer, const TokenEvent& event) {
  const std::lock_guard lock(mutex_);
  if (event.token >= 0) {
    answer.tokens.push_back(event.token);
    answer.seconds.push_back(std::chrono::duration<double>(Clock::now() - start_).count());
    answer.steps.push_back(event.step);
  }
  if (event.finish != Finish::none) {
    answer.timings = event.timings;
    answer.error = event.error;
    answer.error_code = event.error_code;
    answer.finish = event.finish;
  }
  changed_.notify_all();
}

bool BenchAnswers::all_ended() const {
  return std::all_of(answers_.begin(), answers_.end(),
                     [](const BenchAnswer& answer) { return answer.finish != Finish::none; });
}

void BenchAnswers::wait_for_tokens(size_t n) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] {
    return std::all_of(answers_.begin(), answers_.end(), [n](const BenchAnswer& answer) {
      return answer.tokens.size() >= n || answer.finish != Finish::none;
    });
  });
}

Result<std::vector<BenchAnswer>> BenchAnswers::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return all_ended(); });
  for (const BenchAnswer& answer : answers_) {
    if (answer.finish == Finish::error) return Error{answer.error_code, answer.error};
  }
  return std::exchange(answers_, {});
}

Result<BenchAnswer> answer(Engine& engine, Request request) {
  BenchAnswers answers(1);
  LM_TRY(answers.ask(engine, std::move(request)));
  std::vector<BenchAnswer> all = LM_TRY(answers.wait());
  return std::move(all.front());
}

}  // namespace lm
