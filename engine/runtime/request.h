// engine/runtime/request.h — what a client asks of the engine, and what it hears back.
#pragma once
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
  int cached_tokens = 0;        // of the prompt, not computed again
  int loaded_tokens = 0;        // of those, from the disk
  int read_tokens = 0;          // of the prompt, cached or computed: all, unless it ended before
  int dropped_tokens = 0;       // by shifting the context: see Overflow
  int steps = 0;                // forward passes that were of use to it: see EngineTotals,
  int generate_steps = 0;       // of them after the first token
  int drafted_tokens = 0;       // guessed in advance,
  int accepted_tokens = 0;      // of them foreseen rightly: tokens without a pass of their own
  uint64_t step_bytes = 0;      // of weights, read by a pass
  double queue_seconds = 0;     // from submit() until the first pass
  double prompt_seconds = 0;    // from then on until the first token
  double generate_seconds = 0;  // from then on

  double first_token_seconds() const { return queue_seconds + prompt_seconds; }  // what users wait
  double seconds_per_token() const;                                              // after the first
  double bytes_per_second() const;  // of weights, while generating; shared with who ran beside it
};

struct TokenEvent {
  TokenId token = -1;     // -1 in a last event that carries no token
  std::string_view text;  // whole characters, stop texts already held back
  float logprob = 0;
  bool drafted = false;                       // foreseen: it took no forward pass of its own
  std::span<const TokenChance> alternatives;  // of this position: see Request::n_alternatives
  Finish finish = Finish::none;
  int sample = 0;     // which of Request::n_samples
  uint64_t step = 0;  // the latest pass of this answer, by its number among the engine's passes
  Timings timings;    // so far
  std::string error;  // why, when finish is error,
  ErrorCode error_code = ErrorCode::device;  // and of which kind
};

// What happens when the context is full.
enum class Overflow {
  stop,   // the answer ends; a prompt that is too long is refused
  shift,  // the oldest tokens go, but for the first ones: the sink that attention rests on
          // (arXiv:2309.17453). What is left is computed again, at its new positions.
};

struct Request {
  std::vector<TokenId> prompt;  // BOS included
  SamplingParams sampling;
  std::shared_ptr<const TokenFilter> filter;  // each answer begins with a clone
  int n_samples =
      1;  // answers; each is what it would be alone with the seed sampling.seed + sample
  uint64_t user = 0;    // users who wait take turns
  int max_tokens = -1;  // -1: until the model ends or the context is full
  Overflow overflow = Overflow::stop;
  std::vector<std::string> stop;
  std::vector<TokenId> spelled;  // control tokens whose names are part of the text
  int n_alternatives = 0;        // likeliest tokens that each event lists
  bool ignore_end = false;       // go on after the model's end tokens
  std::function<void(const TokenEvent&)> on_token;  // on the engine thread; must not block or throw
};

using RequestId = uint64_t;

inline constexpr int kMaxSamples = 128;

// The shortest context that can be shifted.
inline constexpr int kLeastShifted = 16;  // tokens

// bad_request, or context_full when the prompt leaves no room for a token.
Status check_request(const Request& request, const Instance& instance);

}  // namespace lm
