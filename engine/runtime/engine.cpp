#include "engine/runtime/engine.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include "engine/core/text.h"
#include "engine/core/utf8.h"
#include "engine/runtime/generation.h"
#include "engine/runtime/scheduler.h"

namespace lm {
namespace {

// What a request may ask of the text of every token.
constexpr size_t kMaxStops = 64, kMaxStopBytes = 4096;
constexpr int kMaxAlternatives = 100;

Error bad_request(std::string message) {
  return {ErrorCode::bad_request, std::move(message)};
}

Status check_token(std::string_view where, TokenId id, int n_vocab) {
  if (id >= 0 && id < n_vocab) return ok();
  return bad_request(concat("expected a token id below ", n_vocab, " in ", where, ", found ", id));
}

Status check_stops(const std::vector<std::string>& stops) {
  if (stops.size() > kMaxStops) {
    return bad_request(concat("expected at most ", kMaxStops, " stop texts, found ", stops.size()));
  }
  for (const std::string& stop : stops) {
    if (stop.empty() || stop.size() > kMaxStopBytes || !utf8::is_valid(stop)) {
      return bad_request(concat("expected stop texts of 1 to ", kMaxStopBytes,
                                " bytes of UTF-8, found \"", printable(stop), "\""));
    }
  }
  return ok();
}

Status check_request(const Request& request, const Instance& instance) {
  const int n_vocab = instance.config().n_vocab;
  if (request.prompt.empty()) return bad_request("expected a prompt, found no token");
  if (request.prompt.size() >= size_t(instance.n_ctx())) {
    return Error{ErrorCode::context_full,
                 concat("expected a prompt shorter than the context of ", instance.n_ctx(),
                        " tokens, found ", request.prompt.size())};
  }
  for (const TokenId id : request.prompt) LM_TRY(check_token("the prompt", id, n_vocab));
  LM_TRY(validate(request.sampling));
  for (const auto& [id, bias] : request.sampling.logit_bias) {
    LM_TRY(check_token("logit_bias", id, n_vocab));
  }
  if (request.max_tokens < -1) {
    return bad_request(
        concat("expected a number of tokens of at least -1, found ", request.max_tokens));
  }
  if (request.n_alternatives < 0 || request.n_alternatives > kMaxAlternatives) {
    return bad_request(concat("expected 0 to ", kMaxAlternatives, " alternatives, found ",
                              request.n_alternatives));
  }
  return check_stops(request.stop);
}

// The scheduler was given nothing but generations.
Generation& generation_of(const PlannedRow& row) {
  return static_cast<Generation&>(*row.sequence);
}

}  // namespace

std::string_view finish_name(Finish finish) {
  switch (finish) {
    case Finish::none:
      return "none";
    case Finish::stop:
      return "stop";
    case Finish::length:
      return "length";
    case Finish::cancelled:
      return "cancelled";
    case Finish::error:
      return "error";
  }
  return "unknown";
}

struct Engine::Impl {
  explicit Impl(std::unique_ptr<Instance> opened);

  // Any thread.
  Result<RequestId> submit(Request request);
  void cancel(RequestId id);
  void stop();

  // The engine thread: receive, schedule, step, emit.
  void run();
  bool receive();
  void admit(std::unique_ptr<Generation> generation);
  void withdraw(RequestId id);
  void step(const std::vector<PlannedRow>& plan);
  void fail(const std::vector<PlannedRow>& plan, const std::string& error);
  void retire();

  std::unique_ptr<Instance> instance;  // outlives every table of its pool below
  std::mutex mutex;                    // of the mailbox: the next four
  std::condition_variable wake;
  std::vector<std::unique_ptr<Generation>> submitted;
  std::vector<RequestId> cancelled;
  bool stopping = false;
  RequestId last_id = 0;

  Scheduler scheduler;
  std::vector<std::unique_ptr<Generation>> active;  // known to the scheduler
  std::vector<StepRow> rows;
  std::thread thread;
};

Engine::Impl::Impl(std::unique_ptr<Instance> opened)
    : instance(std::move(opened)),
      scheduler(instance->pool(), instance->max_step_tokens(), instance->max_seqs()) {
  rows.reserve(size_t(instance->max_seqs()));
  thread = std::thread([this] { run(); });
}

Result<RequestId> Engine::Impl::submit(Request request) {
  LM_TRY(check_request(request, *instance));
  try {
    auto generation = std::make_unique<Generation>(std::move(request), *instance);
    const std::lock_guard lock(mutex);
    generation->id = last_id + 1;
    submitted.push_back(std::move(generation));
    wake.notify_one();
    return ++last_id;
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::out_of_memory, "not enough memory for another request"};
  }
}

void Engine::Impl::cancel(RequestId id) {
  const std::lock_guard lock(mutex);
  cancelled.push_back(id);
  wake.notify_one();
}

void Engine::Impl::stop() {
  {
    const std::lock_guard lock(mutex);
    stopping = true;
    wake.notify_one();
  }
  thread.join();
}

void Engine::Impl::run() {
  while (receive()) {
    const std::vector<PlannedRow>& plan = scheduler.next();
    if (plan.empty()) continue;
    try {
      step(plan);
    } catch (const std::bad_alloc&) {
      fail(plan, "not enough memory for the next token");
    }
    retire();
  }
}

// Takes what the world asked for; waits for it when there is nothing else to do. False: stop.
bool Engine::Impl::receive() {
  std::vector<std::unique_ptr<Generation>> arrivals;
  std::vector<RequestId> departures;
  bool stop_now = false;
  {
    std::unique_lock lock(mutex);
    wake.wait(lock, [&] {
      return stopping || !submitted.empty() || !cancelled.empty() || !scheduler.idle();
    });
    arrivals.swap(submitted);
    departures.swap(cancelled);
    stop_now = stopping;
  }
  for (std::unique_ptr<Generation>& generation : arrivals) admit(std::move(generation));
  for (const RequestId id : departures) withdraw(id);
  if (stop_now) {
    for (const std::unique_ptr<Generation>& generation : active) {
      generation->finish(Finish::cancelled);
    }
  }
  retire();
  return !stop_now;
}

void Engine::Impl::admit(std::unique_ptr<Generation> generation) {
  scheduler.add(generation.get());
  active.push_back(std::move(generation));
  if (active.back()->wants_nothing()) active.back()->finish(Finish::length);
}

void Engine::Impl::withdraw(RequestId id) {
  for (const std::unique_ptr<Generation>& generation : active) {
    if (generation->id == id && !generation->finished()) generation->finish(Finish::cancelled);
  }
}

void Engine::Impl::step(const std::vector<PlannedRow>& plan) {
  for (const BlockCopy& copy : scheduler.copies()) instance->copy_block(copy);
  rows.clear();
  for (const PlannedRow& row : plan) {
    const Sequence& s = *row.sequence;
    const std::span<const TokenId> tokens(s.tokens);
    rows.push_back({.tokens = tokens.subspan(size_t(s.n_computed), size_t(row.n_tokens)),
                    .first_position = s.n_computed,
                    .table = &s.table,
                    .n_logits = row.wants_logits ? 1 : 0});
    generation_of(row).note_step();
  }
  const Result<std::span<float>> logits = instance->step(rows);
  if (!logits.ok()) return fail(plan, logits.error().message);
  scheduler.completed(plan);

  const size_t n_vocab = size_t(instance->config().n_vocab);
  std::span<float> rest = logits.value();
  for (const PlannedRow& row : plan) {
    if (!row.wants_logits) continue;
    generation_of(row).advance(rest.first(n_vocab));
    rest = rest.subspan(n_vocab);
  }
}

void Engine::Impl::fail(const std::vector<PlannedRow>& plan, const std::string& error) {
  scheduler.failed(plan);
  for (const PlannedRow& row : plan) {
    Generation& generation = generation_of(row);
    if (!generation.finished()) generation.finish(Finish::error, error);
  }
}

// Forgets what has finished; its blocks go back.
void Engine::Impl::retire() {
  const auto finished = [&](const std::unique_ptr<Generation>& generation) {
    if (generation->finished()) scheduler.remove(generation.get());
    return generation->finished();
  };
  std::erase_if(active, finished);
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() {
  impl_->stop();
}

std::unique_ptr<Engine> Engine::start(std::unique_ptr<Instance> instance) {
  return std::unique_ptr<Engine>(new Engine(std::make_unique<Impl>(std::move(instance))));
}

const Instance& Engine::instance() const {
  return *impl_->instance;
}
Result<RequestId> Engine::submit(Request request) {
  return impl_->submit(std::move(request));
}
void Engine::cancel(RequestId id) {
  impl_->cancel(id);
}

}  // namespace lm
