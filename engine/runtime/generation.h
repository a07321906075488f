// engine/runtime/generation.h — one request in progress: from the logits of its last token to the
// next token, its text, and the event that tells the client.
#pragma once
#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/runtime/guess_brake.h"
#include "engine/runtime/instance.h"
#include "engine/runtime/request.h"
#include "engine/runtime/scheduler.h"
#include "engine/runtime/stop_matcher.h"
#include "engine/text/tokenizer.h"

namespace lm {

class Generation final : public Sequence {
 public:
  // The request was checked: see check_request. This is one sample of it.
  Generation(Request request, const Instance& instance, int sample = 0);

  RequestId request = 0;

  bool wants_nothing() const { return max_tokens_ == 0; }
  bool finished() const { return finished_; }
  // A step that includes this sequence is about to run; it was of use, the engine's one of this
  // number.
  void note_launch();
  void note_step(uint64_t number);
  // Tokens that may still come.
  int most_tokens() const;
  const Sampler& sampler() const { return sampler_; }
  // Draws the tokens that follow, appends them and tells the client: from 1 + draft.size() rows of
  // logits the next one, and one more after each that the draft foresaw. Returns how much of the
  // draft came true.
  int advance(std::span<const LogitRow> logits, std::span<const TokenId> draft);
  // How the token after the next one's logits is drawn; nullopt where none may come, where more has
  // a say in it than a DrawRule tells, or where guesses have not paid lately.
  std::optional<DrawRule> next_draw() const;
  // Whether advance() asks `logits` for no more than their candidates.
  bool decided_by(const LogitRow& logits) const;
  // Whether a token that was drawn elsewhere, in a step of n_rows, was the one that advance() drew,
  // or would have drawn from what it was given.
  void note_guess(bool right, int n_rows) { brake_.note(right, n_generated(), n_rows); }
  // Whether the context is full and the answer goes on all the same: then shift() makes room, and
  // all of its tokens are to be computed again.
  bool must_shift() const { return shifts_ && !finished_ && int(tokens.size()) >= n_ctx_; }
  void shift();
  // The last event.
  void finish(Finish finish, std::string error = {}, ErrorCode code = ErrorCode::device);

 private:
  using Clock = std::chrono::steady_clock;

  bool draw(const LogitRow& logits, TokenId expected);
  std::string_view shown_text(TokenId token);
  std::string rest_of_text();  // once, at the end
  int n_generated() const { return int(tokens.size()) + n_dropped_ - n_prompt_; }
  bool at_limit() const;
  void emit(TokenEvent event);
  Timings timings() const;

  const Tokenizer* tokenizer_;  // may be nullptr: no text, no end tokens
  int n_ctx_, max_tokens_;
  bool ignore_end_, shifts_;
  std::vector<TokenId> spelled_;
  size_t n_alternatives_;
  std::function<void(const TokenEvent&)> on_token_;
  Sampler sampler_;
  std::optional<Detokenizer> detokenizer_;
  StopMatcher stop_matcher_;
  std::string text_;                       // of the event being built
  std::vector<TokenChance> alternatives_;  // likewise
  int n_prompt_, sample_;
  int n_dropped_ = 0;
  bool finished_ = false;
  GuessBrake brake_;
  Clock::time_point submitted_;
  std::optional<Clock::time_point> first_step_, first_token_;
  int n_steps_ = 0, first_token_steps_ = 0;
  uint64_t last_step_ = 0;              // its number
  int n_drafted_ = 0, n_accepted_ = 0;  // tokens
  uint64_t step_bytes_;
};

// A scheduler that is given nothing but generations plans nothing else.
inline Generation& generation_of(const PlannedRow& row) {
  return static_cast<Generation&>(*row.sequence);
}

}  // namespace lm
