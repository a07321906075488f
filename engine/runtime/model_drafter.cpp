#include "engine/runtime/model_drafter.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/core/text.h"

namespace lm {
namespace {

using Clock = std::chrono::steady_clock;

// How often a token of a draft is right, to begin with.
constexpr double kPrior = 0.7;

bool pads(const Tokenizer& tokenizer, TokenId id) {
  const TokenType type = tokenizer.type(id);
  return type == TokenType::unused || type == TokenType::undefined;
}

Status check_vocabulary(const Instance& draft, const Instance& target) {
  if (draft.tokenizer() == nullptr || target.tokenizer() == nullptr) {
    const bool neither = draft.tokenizer() == target.tokenizer();
    if (neither && draft.config().n_vocab == target.config().n_vocab) return ok();
    return Error{ErrorCode::unsupported,
                 "expected a draft model with the vocabulary of the model, found one without any"};
  }
  const Tokenizer &theirs = *draft.tokenizer(), &ours = *target.tokenizer();
  const auto differ = [](TokenId id, std::string_view expected, std::string_view found) {
    return Error{ErrorCode::unsupported,
                 concat("expected a draft model with the same vocabulary: token ", id, " is \"",
                        printable(expected), "\" in the model, \"", printable(found),
                        "\" in the draft model")};
  };
  const int both = std::min(ours.size(), theirs.size());
  for (TokenId id = 0; id < both; ++id) {
    const bool same = ours.text(id) == theirs.text(id) && ours.is_end(id) == theirs.is_end(id);
    if (!same && !(pads(ours, id) && pads(theirs, id))) {
      return differ(id, ours.text(id), theirs.text(id));
    }
  }
  for (TokenId id = both; id < ours.size(); ++id) {
    if (!pads(ours, id)) return differ(id, ours.text(id), "");
  }
  for (TokenId id = both; id < theirs.size(); ++id) {
    if (!pads(theirs, id)) return differ(id, "", theirs.text(id));
  }
  return ok();
}

// A sequence as far as the draft model has read it.
struct Reading {
  explicit Reading(BlockPool& pool) : table(pool) {}

  std::vector<TokenId> tokens;  // whose K and V are in the cache
  size_t n_agreed = 0;          // of them known to be the text's, not only a draft's
  BlockTable table;
  std::optional<Sampler> sampler;
  uint64_t last_use = 0;
};

class ModelDrafter final : public Drafter {
 public:
  ModelDrafter(std::unique_ptr<Instance> instance, int n_vocab)
      : instance_(std::move(instance)), n_vocab_(n_vocab) {}

  std::string_view name() const override { return "model"; }
  DraftOutlook look(uint64_t sequence, std::span<const TokenId> history) override;
  Status draft(std::span<const DraftTask> tasks) override;
  void forget(uint64_t sequence) override;
  double prior(int, int) const override { return kPrior; }
  const StepTimes* step_times() const override { return &times_; }

 private:
  // A task that is not done: its draft is too short.
  struct Open {
    const DraftTask* task = nullptr;
    Reading* reading = nullptr;
    int n_tokens = 0;  // that the next pass reads
    bool reaches_end = false;
  };

  Reading& reading_of(uint64_t sequence, std::span<const TokenId> history);
  void begin(const DraftTask& task);
  bool evict_oldest();
  bool make_room(Reading& reading, int n_tokens);
  bool open_window(const Open& open, int n);
  int n_unread(const Open& open) const;
  Status pass();
  bool draw(const Open& open, std::span<const float> logits);
  TokenId next_token(const Open& open, size_t position) const;

  std::unique_ptr<Instance> instance_;
  int n_vocab_;  // of the target
  std::unordered_map<uint64_t, Reading> readings_;
  StepTimes times_;
  uint64_t uses_ = 0;
  std::vector<Open> open_;
  std::vector<TokenId> fed_;  // of a pass
  std::vector<StepRow> rows_;
  std::vector<float> logits_;
};

// Finds out how much of what was read is the text's by now.
Reading& ModelDrafter::reading_of(uint64_t sequence, std::span<const TokenId> history) {
  const auto [found, is_new] = readings_.try_emplace(sequence, instance_->pool());
  Reading& reading = found->second;
  if (!is_new && history.size() <= reading.n_agreed) reading = Reading(instance_->pool());  // cut
  if (reading.tokens.empty()) {
    reading.table.adopt(history.first(history.size() - 1));
    const std::span<const TokenId> known = history.first(size_t(reading.table.n_shared()));
    reading.tokens.assign(known.begin(), known.end());
  }
  size_t& n = reading.n_agreed;
  while (n < reading.tokens.size() && n + 1 < history.size() && reading.tokens[n] == history[n])
    ++n;
  return reading;
}

DraftOutlook ModelDrafter::look(uint64_t sequence, std::span<const TokenId> history) {
  const Reading& reading = reading_of(sequence, history);
  const std::span<const TokenId> unread = history.subspan(reading.n_agreed);
  const int n_vocab = instance_->config().n_vocab;
  const bool readable =
      history.size() <= size_t(instance_->n_ctx()) &&
      std::all_of(unread.begin(), unread.end(), [n_vocab](TokenId id) { return id < n_vocab; });
  return {.draft_class = readable ? 0 : -1, .backlog = int(unread.size())};
}

Status ModelDrafter::draft(std::span<const DraftTask> tasks) {
  open_.clear();
  ++uses_;
  for (const DraftTask& task : tasks) reading_of(task.sequence, task.history).last_use = uses_;
  for (const DraftTask& task : tasks) begin(task);
  while (!open_.empty()) LM_TRY(pass());
  return ok();
}

void ModelDrafter::begin(const DraftTask& task) {
  Reading& reading = reading_of(task.sequence, task.history);
  reading.tokens.resize(reading.n_agreed);
  // The last token of the draft is not read.
  const int n_tokens = int(task.history.size()) + task.length - 1;
  if (n_tokens > instance_->n_ctx() || !make_room(reading, n_tokens)) return;
  if (reading.sampler) {
    reading.sampler->resume_from(*task.sampler);
  } else {
    reading.sampler.emplace(*task.sampler);
  }
  open_.push_back({.task = &task, .reading = &reading});
}

// Takes the blocks of the one that has not drafted for longest, never of one that drafts now.
bool ModelDrafter::evict_oldest() {
  Reading* oldest = nullptr;
  for (auto& [sequence, other] : readings_) {
    const bool spare = other.last_use < uses_ && !other.tokens.empty();
    if (spare && (oldest == nullptr || other.last_use < oldest->last_use)) oldest = &other;
  }
  if (oldest == nullptr) return false;
  *oldest = Reading(instance_->pool());
  return true;
}

bool ModelDrafter::make_room(Reading& reading, int n_tokens) {
  while (!reading.table.grow(n_tokens)) {
    if (!evict_oldest()) return false;
  }
  return true;
}

// Before `n` more tokens are read. The text stays as it is but for its last token: drafts begin
// behind it, and the window may not be ahead of where they do.
bool ModelDrafter::open_window(const Open& open, int n) {
  const int n_read = int(open.reading->tokens.size());
  const int n_text = int(open.task->history.size()) - 1;
  while (!open.reading->table.open_window(std::min(n_read, n_text), n_read + n)) {
    if (!evict_oldest()) return false;
  }
  return true;
}

int ModelDrafter::n_unread(const Open& open) const {
  return int(open.task->history.size() + open.task->draft->size() - open.reading->tokens.size());
}

// Every task reads what it can of its text and draft; those that come to the end draw a token.
Status ModelDrafter::pass() {
  const Clock::time_point start = Clock::now();
  rows_.clear();
  fed_.clear();
  int room = instance_->max_step_tokens();
  fed_.reserve(size_t(room));
  // Where there are no pages the draft ends.
  std::erase_if(
      open_, [&](const Open& open) { return !open_window(open, std::min(n_unread(open), room)); });
  if (open_.empty()) return ok();
  for (Open& open : open_) {
    const size_t n_read = open.reading->tokens.size();
    open.n_tokens = std::min(n_unread(open), room);
    open.reaches_end = open.n_tokens == n_unread(open);
    room -= open.n_tokens;
    if (open.n_tokens == 0) continue;
    const size_t first = fed_.size();
    for (size_t i = 0; i < size_t(open.n_tokens); ++i) fed_.push_back(next_token(open, n_read + i));
    rows_.push_back({.tokens = std::span(fed_).subspan(first),
                     .first_position = int(n_read),
                     .table = &open.reading->table,
                     .n_logits = open.reaches_end ? 1 : 0});
  }
  std::span<float> logits = LM_TRY(instance_->step(rows_));
  const size_t n_logits = size_t(instance_->config().n_vocab);
  const int n_rows = int(fed_.size());
  size_t kept = 0;
  for (size_t t = 0; t < open_.size(); ++t) {
    Open open = open_[t];
    std::vector<TokenId>& read = open.reading->tokens;
    for (int i = 0; i < open.n_tokens; ++i) read.push_back(next_token(open, read.size()));
    bool goes_on = true;
    if (open.reaches_end) {
      goes_on = draw(open, logits.first(n_logits));
      logits = logits.subspan(n_logits);
    }
    if (goes_on) open_[kept++] = open;
  }
  open_.resize(kept);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  // Every pass but one over a long text wants a row of logits for each sequence, whatever it reads.
  times_.note(n_rows, seconds);
  times_.note_prompt(n_rows, seconds);
  return ok();
}

TokenId ModelDrafter::next_token(const Open& open, size_t position) const {
  const std::span<const TokenId> history = open.task->history;
  return position < history.size() ? history[position]
                                   : (*open.task->draft)[position - history.size()];
}

// The next token of a draft; false when the draft ends here.
bool ModelDrafter::draw(const Open& open, std::span<const float> logits) {
  // As many logits as the target has.
  logits_.assign(size_t(n_vocab_), -std::numeric_limits<float>::infinity());
  std::copy_n(logits.begin(), std::min(logits.size(), logits_.size()), logits_.begin());
  Reading& reading = *open.reading;
  const TokenId token = reading.sampler->sample(logits_, reading.tokens).token;
  if (token < 0) return false;
  open.task->draft->push_back(token);
  reading.sampler->accept(token);
  return int(open.task->draft->size()) < open.task->length && token < instance_->config().n_vocab;
}

void ModelDrafter::forget(uint64_t sequence) {
  const auto found = readings_.find(sequence);
  if (found == readings_.end()) return;
  // The next turn of the same conversation begins with it.
  Reading& reading = found->second;
  reading.table.publish(std::span(reading.tokens).first(reading.n_agreed));
  readings_.erase(found);
}

}  // namespace

Result<std::unique_ptr<Drafter>> make_model_drafter(std::unique_ptr<Instance> draft,
                                                    const Instance& target) {
  LM_TRY(check_vocabulary(*draft, target));
  return std::unique_ptr<Drafter>(
      std::make_unique<ModelDrafter>(std::move(draft), target.config().n_vocab));
}

}  // namespace lm
