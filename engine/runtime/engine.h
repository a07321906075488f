// engine/runtime/engine.h — the loop: schedule, forward, sample, emit. One thread owns all
// sequences; the world talks to it through one queue.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/token.h"
#include "engine/runtime/instance.h"
#include "engine/sample/likeliest.h"
#include "engine/sample/sampler.h"

namespace lm {

enum class Finish { none, stop, length, cancelled, error };
std::string_view finish_name(Finish finish);  // "stop", "length", ...

struct Timings {
  int prompt_tokens = 0, generated_tokens = 0;
  int cached_tokens = 0;  // of the prompt, not computed again
  double prompt_seconds = 0, generate_seconds = 0;
};

struct TokenEvent {
  TokenId token = -1;     // -1 in a last event that carries no token
  std::string_view text;  // whole characters, stop texts already held back
  float logprob = 0;
  std::span<const TokenChance> alternatives;  // of this position: see Request::n_alternatives
  Finish finish = Finish::none;
  Timings timings;    // in the last event
  std::string error;  // why, when finish is error
};

struct Request {
  std::vector<TokenId> prompt;  // BOS included
  SamplingParams sampling;
  std::unique_ptr<TokenFilter> filter;
  int max_tokens = -1;  // -1: until the model ends or the context is full
  std::vector<std::string> stop;
  std::vector<TokenId> spelled;  // control tokens whose names are part of the text
  int n_alternatives = 0;        // likeliest tokens that each event lists
  bool ignore_end = false;       // go on after the model's end tokens
  std::function<void(const TokenEvent&)> on_token;  // on the engine thread; must not block or throw
};

using RequestId = uint64_t;

class Engine {
 public:
  // Takes the instance over.
  static std::unique_ptr<Engine> start(std::unique_ptr<Instance> instance);
  ~Engine();  // cancels what is running, then joins

  const Instance& instance() const;

  // context_full when the prompt leaves no room for a token, bad_request on bad parameters or ids.
  // Thread-safe. Exactly one event with finish != none follows a successful submit.
  Result<RequestId> submit(Request request);
  void cancel(RequestId id);  // thread-safe; takes effect within a step

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lm
