// engine/runtime/step_pipeline.h — the steps of a plan, and on a device that computes beside the
// host the one behind it too: it is launched with the tokens that the device guesses before the
// host has read the logits that they follow from. So the device never waits for the host, which
// draws, tells the client and schedules one step behind it.
//
// A guess decides nothing. The host draws every token itself, and a row that was computed for
// another token is not used; its K and V are written again when the position is computed in
// earnest. Nobody else sees them: they lie behind the last token of their sequence, in a block that
// is written by no other, and whoever is given the block writes to it in a later step.
#pragma once
#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/runtime/generation.h"
#include "engine/runtime/instance.h"
#include "engine/runtime/scheduler.h"

namespace lm {

class StepPipeline {
 public:
  explicit StepPipeline(Instance& instance);

  // When a step has been launched ahead it is the next one: leaves in `plan` the rows that are in
  // it. False when none is, and the plan is to be launched.
  bool take(std::vector<PlannedRow>& plan);
  Status launch(std::span<const StepRow> rows);
  // Launches the step after the one of `plan`, all of whose rows decode without drafts, if their
  // tokens can be guessed and find room.
  void launch_ahead(std::span<const PlannedRow> plan);
  // Waits for the step of `plan`, and for nothing behind it. Rows are taken out of the plan that
  // must be computed again: their guess was wrong, or a draw needs more than what is left of them.
  Status collect(std::vector<PlannedRow>& plan, std::vector<LogitRow>& logits);
  void forget() { ahead_.clear(); }  // what was launched ahead

  // Of the last step: whether it was launched ahead, and the time that it took, beginning with the
  // end of the one before it if that was later than its launch.
  bool was_ahead() const { return guessed_; }
  double seconds() const { return seconds_; }
  // How long the device waited for the host in front of it, since the step before.
  double idle_seconds() const { return idle_seconds_; }
  // There is nothing to compute for now.
  void rest() { collected_ = {}; }

 private:
  using Clock = std::chrono::steady_clock;

  // Whose row it is in a step that was launched ahead.
  struct AheadRow {
    uint64_t sequence;
    int n_preempted;
  };
  int place_of(const PlannedRow& row) const;

  Instance* instance_;
  std::vector<int> places_;      // of the plan's rows among the logits of their step
  bool guessed_ = false;         // the step of the plan was launched ahead
  std::vector<AheadRow> ahead_;  // the step behind that of the plan; empty: there is none
  Clock::time_point launched_, launched_ahead_, collected_;
  double seconds_ = 0, idle_seconds_ = 0;
  std::vector<StepRow> rows_;
  std::vector<DrawRule> rules_;
  std::vector<LogitRow> all_;  // of a step
};

}  // namespace lm
