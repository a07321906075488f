#include "engine/runtime/generation.h"

#include <algorithm>
#include <new>
#include <utility>

namespace lm {
namespace {

constexpr int kSinkTokens = 64;  // at most; a quarter of a short context

double seconds(std::chrono::steady_clock::duration d) {
  return std::chrono::duration<double>(d).count();
}

}  // namespace

Generation::Generation(Request asked, const Instance& instance, int sample)
    : Sequence(instance.pool()),
      tokenizer_(instance.tokenizer()),
      n_ctx_(instance.n_ctx()),
      max_tokens_(asked.max_tokens),
      ignore_end_(asked.ignore_end),
      shifts_(asked.overflow == Overflow::shift && n_ctx_ >= kLeastShifted),
      spelled_(std::move(asked.spelled)),
      n_alternatives_(size_t(asked.n_alternatives)),
      on_token_(std::move(asked.on_token)),
      sampler_(std::move(asked.sampling), asked.filter ? asked.filter->clone() : nullptr),
      stop_matcher_(std::move(asked.stop)),
      n_prompt_(int(asked.prompt.size())),
      sample_(sample),
      submitted_(Clock::now()),
      step_bytes_(instance.weight_bytes()) {
  user = asked.user;
  tokens = std::move(asked.prompt);
  if (int(tokens.size()) >= n_ctx_) shift();
  table.reserve(n_ctx_);
  if (tokenizer_ != nullptr) {
    const bool at_start = tokens.back() == tokenizer_->bos();
    detokenizer_.emplace(*tokenizer_, at_start);
  }
}

void Generation::note_launch() {
  if (!first_step_) first_step_ = Clock::now();
}

void Generation::note_step(uint64_t number) {
  ++n_steps_;
  last_step_ = number;
}

int Generation::advance(std::span<const LogitRow> logits, std::span<const TokenId> draft) {
  n_drafted_ += int(draft.size());
  int accepted = 0;
  for (size_t i = 0; !finished_ && int(i) == accepted; ++i) {
    const TokenId expected = i < draft.size() ? draft[i] : -1;
    if (draw(logits[i], expected)) ++accepted;
  }
  return accepted;
}

std::optional<DrawRule> Generation::next_draw() const {
  const SamplingParams& params = sampler_.params();
  const bool greedy = params.temperature == 0;
  const int top_k = greedy ? 1 : params.top_k;
  const bool fits = top_k < kMostCandidates && n_alternatives_ <= size_t(kMostCandidates);
  if (!fits || !sampler_.is_plain() || most_tokens() < 2) return std::nullopt;
  if (!brake_.open(n_generated())) return std::nullopt;
  return DrawRule{.seed = params.seed,
                  .position = sampler_.position(tokens.size()),
                  .top_k = top_k,
                  .temperature = params.temperature,
                  .top_p = params.top_p,
                  .min_p = params.min_p};
}

bool Generation::decided_by(const LogitRow& logits) const {
  const TopLogits* top = logits.top();
  return top != nullptr && sampler_.decided_by(*top);
}

// Whether the next token is the expected one, and now part of the text.
bool Generation::draw(const LogitRow& logits, TokenId expected) {
  likeliest(logits, n_alternatives_, alternatives_);  // before sampling changes them
  const Sampled drawn = sampler_.sample(logits, tokens);
  if (!first_token_) {
    first_token_ = Clock::now();
    first_token_steps_ = n_steps_;
  }
  if (drawn.token < 0) {
    finish(Finish::error, "no token may come next: all are forbidden, or not numbers");
    return false;
  }
  sampler_.accept(drawn.token);
  const bool known = tokenizer_ != nullptr && drawn.token < tokenizer_->size();
  if (known && tokenizer_->is_end(drawn.token) && !ignore_end_) {
    finish(Finish::stop);
    return false;
  }

  tokens.push_back(drawn.token);
  TokenEvent event;
  event.token = drawn.token;
  event.logprob = drawn.logprob;
  event.alternatives = alternatives_;
  event.drafted = drawn.token == expected;
  n_accepted_ += event.drafted ? 1 : 0;
  text_ = shown_text(drawn.token);
  if (!stop_matcher_.matched() && at_limit()) {
    text_ += rest_of_text();
    event.finish = Finish::length;
  }
  if (stop_matcher_.matched()) event.finish = Finish::stop;
  emit(std::move(event));
  return event.drafted;
}

void Generation::finish(Finish finish, std::string error, ErrorCode code) {
  try {
    text_ = rest_of_text();
  } catch (const std::bad_alloc&) {  // the end is told all the same
    text_.clear();
  }
  TokenEvent event;
  event.finish = finish;
  event.error = std::move(error);
  event.error_code = code;
  emit(std::move(event));
}

// Padding ids of an embedding that is longer than the vocabulary have no text.
std::string_view Generation::shown_text(TokenId token) {
  if (!detokenizer_ || token >= tokenizer_->size()) return {};
  if (std::find(spelled_.begin(), spelled_.end(), token) != spelled_.end()) {
    return stop_matcher_.push(detokenizer_->finish().append(tokenizer_->text(token)));
  }
  return stop_matcher_.push(detokenizer_->push(token));
}

std::string Generation::rest_of_text() {
  if (!detokenizer_) return {};
  std::string rest(stop_matcher_.push(detokenizer_->finish()));
  rest += stop_matcher_.flush();
  return rest;
}

int Generation::most_tokens() const {
  const int room = n_ctx_ - int(tokens.size());
  return max_tokens_ < 0 ? room : std::min(room, max_tokens_ - n_generated());
}

bool Generation::at_limit() const {
  const bool full = int(tokens.size()) >= n_ctx_ && !shifts_;
  return full || (max_tokens_ >= 0 && n_generated() >= max_tokens_);
}

// Keeps the sink and what came last: half of the context.
void Generation::shift() {
  const int sink = std::min(kSinkTokens, n_ctx_ / 4);
  const int dropped = int(tokens.size()) - n_ctx_ / 2;
  tokens.erase(tokens.begin() + sink, tokens.begin() + sink + dropped);
  n_dropped_ += dropped;
  sampler_.forget(dropped);
}

void Generation::emit(TokenEvent event) {
  event.text = text_;
  finished_ = event.finish != Finish::none;
  event.sample = sample_;
  event.step = last_step_;
  event.timings = timings();
  if (on_token_) on_token_(event);
}

Timings Generation::timings() const {
  const Clock::time_point now = Clock::now();
  Timings t;
  t.prompt_tokens = n_prompt_;
  t.cached_tokens = std::min(n_reused, n_prompt_);
  t.loaded_tokens = std::min(n_loaded, t.cached_tokens);
  t.read_tokens = first_token_ ? n_prompt_ : std::clamp(n_computed, t.cached_tokens, n_prompt_);
  t.generated_tokens = n_generated();
  t.dropped_tokens = n_dropped_;
  t.steps = n_steps_;
  t.generate_steps = first_token_ ? n_steps_ - first_token_steps_ : 0;
  t.step_bytes = step_bytes_;
  t.queue_seconds = seconds(first_step_.value_or(now) - submitted_);
  t.drafted_tokens = n_drafted_;
  t.accepted_tokens = n_accepted_;
  if (first_step_) t.prompt_seconds = seconds(first_token_.value_or(now) - *first_step_);
  if (first_token_) t.generate_seconds = seconds(now - *first_token_);
  return t;
}

}  // namespace lm
