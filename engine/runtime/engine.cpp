#include "engine/runtime/engine.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include "engine/core/text.h"
#include "engine/runtime/generation.h"
#include "engine/runtime/kv_store.h"
#include "engine/runtime/scheduler.h"
#include "engine/runtime/speculation.h"
#include "engine/runtime/step_pipeline.h"

namespace lm {
namespace {

constexpr std::chrono::milliseconds kSavePeriod(2);  // between looks at whether the disk keeps up
constexpr double kFinishSeconds = 3;                 // for what is not on the disk yet at the end

// The request of one of its samples.
Request sample_of(Request request, int sample) {
  request.sampling.seed += uint64_t(sample);
  return request;
}

}  // namespace

struct Engine::Impl {
  Impl(std::unique_ptr<Instance> opened, EngineOptions chosen);

  // Any thread.
  Result<RequestId> submit(Request request);
  Result<RequestId> enqueue(std::vector<std::unique_ptr<Generation>> samples);
  void cancel(RequestId id);
  void stop();

  // The engine thread: receive, schedule, step, emit.
  void run();
  bool receive();
  void admit(std::unique_ptr<Generation> generation);
  void withdraw(RequestId id);
  void step(const std::vector<PlannedRow>& scheduled);
  void propose(bool launched);
  void assemble();
  bool may_run_ahead();
  void advance();
  void fail(const std::vector<PlannedRow>& failed, ErrorCode code, const std::string& error);
  void shift(Generation& generation);
  void retire();
  void count(const Timings& finished);
  void count_step();
  void publish_totals();

  const int max_waiting;
  std::unique_ptr<Instance> instance;  // outlives every table of its pool below
  std::mutex mutex;                    // of the mailbox and the totals: the next seven
  std::condition_variable wake;
  std::vector<std::unique_ptr<Generation>> submitted;
  std::vector<RequestId> cancelled;
  bool stopping = false;
  uint64_t last_id = 0;
  int unfinished = 0;  // samples submitted that have not had their last event
  EngineTotals totals;

  std::unique_ptr<KvStore> store;  // may be empty
  Scheduler scheduler;
  std::vector<std::unique_ptr<Generation>> active;  // known to the scheduler
  Speculation speculation;
  StepPipeline pipeline;
  std::vector<PlannedRow> plan;  // of the step: what was scheduled, or less
  std::vector<StepRow> rows;
  uint64_t n_steps = 0;  // that succeeded
  std::vector<DecodingRow> decoding;
  std::vector<LogitRow> logits;  // of a step
  std::thread thread;
};

Engine::Impl::Impl(std::unique_ptr<Instance> opened, EngineOptions chosen)
    : max_waiting(chosen.max_waiting),
      instance(std::move(opened)),
      scheduler(instance->pool(), instance->max_step_tokens() - instance->draft_rows(),
                instance->max_seqs()),
      speculation(*instance, std::move(chosen.speculation)),
      pipeline(*instance) {
  plan.reserve(size_t(instance->max_seqs()));
  rows.reserve(size_t(instance->max_seqs()));
  decoding.reserve(size_t(instance->max_seqs()));
  logits.reserve(size_t(instance->max_step_logits()));
  active.reserve(size_t(instance->max_seqs() + max_waiting));
  scheduler.reserve(instance->max_seqs() + max_waiting);
  if (chosen.disk) {
    store = std::make_unique<KvStore>(*instance, std::move(chosen.disk));
    scheduler.set_source(store.get());
  }
  thread = std::thread([this] { run(); });
}

Result<RequestId> Engine::Impl::submit(Request request) {
  LM_TRY(check_request(request, *instance));
  try {
    request.on_token = [this, tell = std::move(request.on_token)](const TokenEvent& event) {
      if (event.finish != Finish::none) count(event.timings);
      if (tell) tell(event);
    };
    std::vector<std::unique_ptr<Generation>> samples;
    for (int i = 1; i < request.n_samples; ++i) {
      samples.push_back(std::make_unique<Generation>(sample_of(request, i), *instance, i));
    }
    samples.insert(samples.begin(), std::make_unique<Generation>(std::move(request), *instance, 0));
    return enqueue(std::move(samples));
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::out_of_memory, "not enough memory for another request"};
  }
}

// All of the samples or none.
Result<RequestId> Engine::Impl::enqueue(std::vector<std::unique_ptr<Generation>> samples) {
  const std::lock_guard lock(mutex);
  const int n = int(samples.size()), most = instance->max_seqs() + max_waiting;
  if (n > most - unfinished) {
    return Error{ErrorCode::busy, concat("expected at most ", most, " answers at once, found ",
                                         unfinished, " unfinished and ", n, " more wanted")};
  }
  submitted.reserve(submitted.size() + samples.size());
  const RequestId request = last_id + 1;
  for (std::unique_ptr<Generation>& sample : samples) {
    sample->id = ++last_id;
    sample->request = request;
    submitted.push_back(std::move(sample));
  }
  unfinished += n;
  wake.notify_one();
  return request;
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
    if (store) store->begin_step();
    const std::vector<PlannedRow>& scheduled = scheduler.next();
    if (scheduled.empty()) continue;
    try {
      step(scheduled);
    } catch (const std::bad_alloc&) {
      fail(scheduled, ErrorCode::out_of_memory,
           "out of memory");  // short: a std::string holds it in itself
    }
    retire();
    if (store) store->save();
  }
  if (store) store->finish(kFinishSeconds);
}

// Takes what the world asked for; waits for it when there is nothing else to do. False: stop.
bool Engine::Impl::receive() {
  std::vector<std::unique_ptr<Generation>> arrivals;
  std::vector<RequestId> departures;
  bool stop_now = false;
  publish_totals();
  if (scheduler.idle()) pipeline.rest();
  {
    std::unique_lock lock(mutex);
    const auto wanted = [&] {
      return stopping || !submitted.empty() || !cancelled.empty() || !scheduler.idle();
    };
    while (store && store->saving() && !wake.wait_for(lock, kSavePeriod, wanted)) {
      lock.unlock();
      store->save();
      lock.lock();
    }
    wake.wait(lock, wanted);
    arrivals.swap(submitted);
    departures.swap(cancelled);
    stop_now = stopping;
  }
  for (std::unique_ptr<Generation>& generation : arrivals) admit(std::move(generation));
  for (const RequestId id : departures) withdraw(id);
  if (stop_now) {
    for (const std::unique_ptr<Generation>& generation : active) {
      if (!generation->finished()) generation->finish(Finish::cancelled);
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
    if (generation->request == id && !generation->finished()) generation->finish(Finish::cancelled);
  }
}

void Engine::Impl::step(const std::vector<PlannedRow>& scheduled) {
  for (const BlockCopy& copy : scheduler.copies()) instance->copy_block(copy);
  plan = scheduled;
  const bool launched = pipeline.take(plan);
  const bool whole = plan.size() == scheduled.size();
  propose(launched);
  assemble();
  Status computed = launched ? ok() : pipeline.launch(rows);
  if (computed.ok() && whole && may_run_ahead()) pipeline.launch_ahead(plan);
  if (computed.ok()) computed = pipeline.collect(plan, logits);
  if (!computed.ok()) return fail(plan, computed.error().code, computed.error().message);
  if (plan.empty()) return;  // all guesses were wrong
  count_step();
  for (const PlannedRow& row : plan) generation_of(row).note_step(n_steps);
  speculation.note_step(pipeline.seconds(), pipeline.idle_seconds());
  scheduler.completed(plan);
  advance();
  for (const PlannedRow& row : plan) {
    if (generation_of(row).must_shift()) shift(generation_of(row));
  }
}

void Engine::Impl::shift(Generation& generation) {
  scheduler.restart(&generation);
  generation.shift();
  speculation.forget(generation.id);
}

// Drafts for those that decode: a row of one token, the last one.
void Engine::Impl::propose(bool launched) {
  decoding.clear();
  int prompt_rows = 0;
  for (const PlannedRow& row : plan) {
    if (row.is_decoding()) {
      const Generation& generation = generation_of(row);
      decoding.push_back({row.sequence, &generation.sampler(), generation.most_tokens()});
    } else {
      prompt_rows += row.n_tokens;
    }
  }
  speculation.propose(decoding, prompt_rows, instance->draft_rows(), launched);
}

void Engine::Impl::assemble() {
  rows.clear();
  size_t n_decoding = 0;
  for (const PlannedRow& row : plan) {
    const Sequence& s = *row.sequence;
    StepRow step_row = {
        .tokens = std::span(s.tokens).subspan(size_t(s.n_computed), size_t(row.n_tokens)),
        .first_position = s.n_computed,
        .table = &s.table,
        .n_logits = row.wants_logits ? 1 : 0};
    if (row.is_decoding()) {
      step_row.tokens = speculation.tokens(n_decoding++);
      step_row.n_logits = int(step_row.tokens.size());
    }
    rows.push_back(step_row);
    generation_of(row).note_launch();
  }
}

// Not where that would delay somebody: who has just come, or a draft.
bool Engine::Impl::may_run_ahead() {
  if (!instance->runs_ahead() || decoding.size() != plan.size() || !speculation.quiet()) {
    return false;
  }
  const std::lock_guard lock(mutex);
  return submitted.empty() && cancelled.empty();
}

// Every sequence that has logits draws its next tokens; what was drafted in vain is taken back.
void Engine::Impl::advance() {
  std::span<const LogitRow> next(logits);
  size_t n_decoding = 0;
  for (const PlannedRow& row : plan) {
    if (!row.wants_logits) continue;
    Generation& generation = generation_of(row);
    if (!row.is_decoding()) {
      generation.advance(next.first(1), {});
      next = next.subspan(1);
      continue;
    }
    const size_t i = n_decoding++;
    const std::span<const TokenId> draft = speculation.draft(i);
    const size_t n_logits = 1 + draft.size();
    const int accepted = generation.advance(next.first(n_logits), draft);
    generation.n_computed += accepted;
    generation.table.truncate(int(generation.tokens.size()));
    speculation.note_draft(i, accepted, !generation.finished() && accepted < int(draft.size()));
    next = next.subspan(n_logits);
  }
}

void Engine::Impl::fail(const std::vector<PlannedRow>& failed, ErrorCode code,
                        const std::string& error) {
  pipeline.forget();
  scheduler.failed(failed);
  for (const PlannedRow& row : failed) {
    Generation& generation = generation_of(row);
    if (!generation.finished()) generation.finish(Finish::error, error, code);
  }
}

// Forgets what has finished; its blocks go back.
void Engine::Impl::retire() {
  const auto finished = [&](const std::unique_ptr<Generation>& generation) {
    if (!generation->finished()) return false;
    const size_t n_computed = size_t(generation->n_computed);
    scheduler.remove(generation.get());
    if (store) store->save_end(std::span(generation->tokens).first(n_computed));
    speculation.forget(generation->id);
    return true;
  };
  std::erase_if(active, finished);
}

// Before the client hears that the answer has ended: there is room for another one now.
void Engine::Impl::count(const Timings& timings) {
  const std::lock_guard lock(mutex);
  --unfinished;
  ++totals.samples;
  if (timings.steps > 0) {  // otherwise nobody read it
    totals.prompt_tokens += uint64_t(timings.read_tokens);
    totals.cached_tokens += uint64_t(timings.cached_tokens);
    totals.loaded_tokens += uint64_t(timings.loaded_tokens);
  }
  totals.generated_tokens += uint64_t(timings.generated_tokens);
  totals.drafted_tokens += uint64_t(timings.drafted_tokens);
  totals.accepted_tokens += uint64_t(timings.accepted_tokens);
  totals.queue_seconds += timings.queue_seconds;
  totals.generate_seconds += timings.generate_seconds;
  if (timings.generated_tokens == 0) return;
  ++totals.first_tokens;
  totals.first_token_seconds += timings.first_token_seconds();
}

// Before anybody hears of the tokens that it brings.
void Engine::Impl::count_step() {
  ++n_steps;
  const std::lock_guard lock(mutex);
  totals.steps = n_steps;
  totals.steps_ahead += pipeline.was_ahead() ? 1 : 0;
  totals.step_seconds += pipeline.seconds();
}

// What the engine thread alone knows, for those who ask.
void Engine::Impl::publish_totals() {
  const BlockPool& pool = instance->pool();
  const std::lock_guard lock(mutex);
  totals.step_bytes = instance->weight_bytes();
  totals.preemptions = scheduler.preemptions();
  totals.running = scheduler.n_running();
  totals.waiting = std::max(unfinished - totals.running, 0);
  totals.blocks = pool.n_blocks();
  totals.free_blocks = pool.free_blocks();
  totals.cached_blocks = pool.cached_blocks();
  totals.pages = pool.pages().n_pages();
  totals.free_pages = pool.pages().free_pages();
}

double EngineTotals::bytes_per_second() const {
  return step_seconds > 0 ? double(step_bytes) * double(steps) / step_seconds : 0;
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() {
  impl_->stop();
}

std::unique_ptr<Engine> Engine::start(std::unique_ptr<Instance> instance, EngineOptions options) {
  return std::unique_ptr<Engine>(
      new Engine(std::make_unique<Impl>(std::move(instance), std::move(options))));
}

const Instance& Engine::instance() const {
  return *impl_->instance;
}
Result<RequestId> Engine::submit(Request request) {
  return impl_->submit(std::move(request));
}
EngineTotals Engine::totals() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->totals;
}
void Engine::cancel(RequestId id) {
  impl_->cancel(id);
}

}  // namespace lm
