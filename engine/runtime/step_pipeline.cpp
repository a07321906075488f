#include "engine/runtime/step_pipeline.h"

#include <algorithm>
#include <numeric>
#include <optional>

namespace lm {
namespace {

// In place of a token that the device draws.
constexpr TokenId kGuessed = 0;

StepRow one_token(const Sequence& sequence, const TokenId& token, int position) {
  return {.tokens = {&token, 1}, .first_position = position, .table = &sequence.table};
}

}  // namespace

StepPipeline::StepPipeline(Instance& instance) : instance_(&instance) {
  const size_t n_seqs = size_t(instance.max_seqs());
  places_.reserve(n_seqs);
  ahead_.reserve(n_seqs);
  rows_.reserve(n_seqs);
  rules_.reserve(n_seqs);
  all_.reserve(size_t(instance.max_step_logits()));
}

// -1: it is not in the step that was launched ahead.
int StepPipeline::place_of(const PlannedRow& row) const {
  const Sequence& s = *row.sequence;
  const auto found = std::find_if(ahead_.begin(), ahead_.end(), [&](const AheadRow& ahead) {
    return ahead.sequence == s.id && ahead.n_preempted == s.n_preempted;
  });
  if (found == ahead_.end() || !row.is_decoding()) return -1;
  const int place = int(found - ahead_.begin());
  return instance_->launched(place, one_token(s, kGuessed, s.n_computed)) ? place : -1;
}

bool StepPipeline::take(std::vector<PlannedRow>& plan) {
  places_.clear();
  for (const PlannedRow& row : plan) {
    const int place = place_of(row);
    if (place >= 0) places_.push_back(place);
  }
  guessed_ = !places_.empty();
  if (guessed_) {
    std::erase_if(plan, [&](const PlannedRow& row) { return place_of(row) < 0; });
    launched_ = launched_ahead_;
  }
  forget();
  return guessed_;
}

Status StepPipeline::launch(std::span<const StepRow> rows) {
  launched_ = Clock::now();
  places_.resize(rows.size());
  std::iota(places_.begin(), places_.end(), 0);
  return instance_->launch(rows);
}

void StepPipeline::launch_ahead(std::span<const PlannedRow> plan) {
  rows_.clear();
  rules_.clear();
  // One that can't be guessed, with a grammar or penalties, keeps all of them waiting. The others
  // could go on without it, but then it would need a step of its own, in which all weights are read
  // again: that costs more than the host's time, which is all that there is to win.
  for (size_t i = 0; i < plan.size(); ++i) {
    const std::optional<DrawRule> rule = generation_of(plan[i]).next_draw();
    if (!rule) return;
    rules_.push_back(*rule);
    rules_.back().row = places_[i];
  }
  for (const PlannedRow& row : plan) {
    Sequence& sequence = *row.sequence;
    const int position = int(sequence.tokens.size());
    // Pages that the token in front sees are kept: it may have to be computed again.
    if (!sequence.table.prepare(sequence.n_computed, position + 1)) return;
    rows_.push_back(one_token(sequence, kGuessed, position));
  }
  launched_ahead_ = Clock::now();
  if (!instance_->launch_ahead(rows_, rules_).ok()) return;
  for (const PlannedRow& row : plan)
    ahead_.push_back({row.sequence->id, row.sequence->n_preempted});
}

Status StepPipeline::collect(std::vector<PlannedRow>& plan, std::vector<LogitRow>& logits) {
  const bool followed = !ahead_.empty();
  LM_TRY(instance_->collect(followed ? 1 : 0, all_));
  const Clock::time_point now = Clock::now();
  seconds_ = std::chrono::duration<double>(now - std::max(launched_, collected_)).count();
  const bool rested = collected_ == Clock::time_point();
  idle_seconds_ =
      guessed_ || rested ? 0 : std::chrono::duration<double>(launched_ - collected_).count();
  collected_ = now;
  if (!guessed_ && !followed) {  // there may be more rows of logits than of the plan
    logits = all_;
    return ok();
  }
  logits.clear();
  size_t kept = 0;
  const int n_rows = int(plan.size());
  for (size_t i = 0; i < plan.size(); ++i) {
    Generation& generation = generation_of(plan[i]);
    const size_t place = size_t(places_[i]);
    const bool right = !guessed_ || instance_->guesses()[place] == generation.tokens.back();
    const bool decided = !followed || generation.decided_by(all_[place]);
    if (guessed_ || !decided) generation.note_guess(right && decided, n_rows);
    if (!right || !decided) continue;
    plan[kept++] = plan[i];
    logits.push_back(all_[place]);
  }
  plan.erase(plan.begin() + std::ptrdiff_t(kept), plan.end());
  return ok();
}

}  // namespace lm
