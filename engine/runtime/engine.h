// engine/runtime/engine.h — the loop: schedule, forward, sample, emit. One thread owns all
// sequences; the world talks to it through one queue. There are no sessions here: K and V are found
// by the tokens that they belong to, in memory and on disk. Whoever asks with the tokens of a
// conversation goes on where it was, whether it was continued, taken back, edited, branched, or
// kept by another program; the conversation itself is its caller's (engine/chat).
#pragma once
#include <cstdint>
#include <memory>

#include "engine/core/result.h"
#include "engine/kv/disk_cache.h"
#include "engine/runtime/drafter.h"
#include "engine/runtime/instance.h"
#include "engine/runtime/request.h"

namespace lm {

struct EngineOptions {
  std::unique_ptr<DiskCache> disk{};  // where blocks are kept for later programs; may be empty
  int max_waiting = 256;  // answers that may wait for their first step: more are refused as busy
  // Who drafts. Drafts need an instance with room for them (draft_rows); they change how soon
  // tokens come, and nothing else.
  SpeculationOptions speculation{};
};

// Of all requests since the start.
struct EngineTotals {
  uint64_t samples = 0;        // finished ones
  uint64_t first_tokens = 0;   // those of them that have a token
  uint64_t prompt_tokens = 0;  // that were read: fewer of one that was cancelled inside its prompt
  uint64_t cached_tokens = 0;  // of them, not computed
  uint64_t generated_tokens = 0;
  uint64_t loaded_tokens = 0;  // of the cached ones, from the disk
  uint64_t drafted_tokens = 0, accepted_tokens = 0;
  double queue_seconds = 0, generate_seconds = 0;  // sums: see Timings
  double first_token_seconds = 0;                  // likewise, of first_tokens
  uint64_t preemptions = 0;
  // Forward passes that were of use: none that failed, or that only wrong guesses were computed in.
  uint64_t steps = 0;
  uint64_t steps_ahead = 0;  // of those, launched before the logits of the one in front were read
  double step_seconds = 0;   // in those; what ran beside another counts once
  uint64_t step_bytes = 0;   // of weights, read by a pass
  int running = 0, waiting = 0;                        // samples, now
  int blocks = 0, cached_blocks = 0, free_blocks = 0;  // of the KV cache, now; cached ones are free
  int pages = 0, free_pages = 0;                       // likewise, of layers with a window

  double bytes_per_second() const;  // of weights, while computing
};

class Engine {
 public:
  // Takes the instance over.
  static std::unique_ptr<Engine> start(std::unique_ptr<Instance> instance,
                                       EngineOptions options = {});
  ~Engine();  // cancels what is running, then joins

  const Instance& instance() const;

  // context_full when the prompt leaves no room for a token, bad_request on bad parameters or ids,
  // busy when too many wait. Thread-safe. Exactly one event with finish != none follows for each
  // sample of a successful submit.
  Result<RequestId> submit(Request request);
  void cancel(RequestId id);    // all of its samples; thread-safe; takes effect within a step
  EngineTotals totals() const;  // thread-safe

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lm
