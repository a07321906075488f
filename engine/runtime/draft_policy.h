// engine/runtime/draft_policy.h — how long a draft is worth its cost, and when none is. Everything
// is learned while running: what a forward pass costs by its rows, and how often a token at each
// position of a draft is right. The lengths are those with the most tokens a second to be expected.
// What this decides depends on the clock, and so only ever changes how fast an answer comes.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/runtime/drafter.h"
#include "engine/runtime/step_times.h"

namespace lm {

inline constexpr int kMaxDraft = 32;  // tokens of one draft

// How often drafts were right, by class and position; the past fades.
class Acceptance {
 public:
  // The tokens at positions below `accepted` were right; the one there was not, if `refuted`.
  void note(int draft_class, int accepted, bool refuted, uint64_t now);

  struct Rate {
    double right = 0, tried = 0;  // of a token whose forerunners were all right
  };
  Rate rate(int draft_class, int position, uint64_t now) const;

 private:
  static constexpr int kPositions = 7;  // 0, 1, 2, 3, 4-7, 8-15, 16 and more
  struct Cell {
    Rate rate;
    uint64_t time = 0;
  };
  static int bucket(int position);
  std::array<std::array<Cell, kPositions>, kDraftClasses> cells_;
};

// A decoding sequence of the next step.
struct DraftChoice {
  Acceptance* experience = nullptr;  // with this sequence
  DraftOutlook outlook;
  int most = 0;    // tokens that may be drafted
  int length = 0;  // how many to draft
};

class DraftPolicy {
 public:
  explicit DraftPolicy(const Drafter& drafter) : drafter_(&drafter) {}

  // Sets the lengths, at most `max_rows` in all. The step has `prompt_rows` rows besides.
  void choose(std::span<DraftChoice> choices, int prompt_rows, int max_rows);

  // A step with that many rows for tokens and drafts, and others for prompts, took so long, and
  // making its drafts so long.
  void note_step(int decode_rows, int prompt_rows, double seconds, double draft_seconds);
  void note_draft(Acceptance& sequence, int draft_class, int accepted, bool refuted);
  // Whether the lengths chosen last are there to find something out, until the step is noted.
  bool exploring() const { return explored_.has_value(); }

 private:
  struct Plan {
    double tokens = 0, seconds = 0;  // to be expected of one step
    double rate() const { return tokens / seconds; }
  };
  struct Candidate {
    double reached = 1;  // chance that all of its draft so far is right
    double next = 0;     // and that the token after it is right too
  };
  // What the forward passes of a draft model cost: one for each position, over all sequences that
  // draft so far; the first one reads the backlogs.
  class Passes {
   public:
    Passes(const StepTimes* times, bool invest) : times_(times), invest_(invest) {}
    void add(int position, int backlog);
    double seconds() const { return seconds_; }

   private:
    double pass_seconds(int position) const;

    const StepTimes* times_;
    bool invest_;  // a long backlog is read once and serves many drafts
    std::array<int, kMaxDraft> rows_{};
    double seconds_ = 0;
  };

  double chance(const DraftChoice& choice, int position, bool hopeful) const;
  void extend(std::span<DraftChoice> choices, int rows, int max_rows, const Plan& plain);
  void explore(std::span<DraftChoice> choices, int rows, const Plan& plain);

  const Drafter* drafter_;
  StepTimes times_;
  Acceptance everybody_;
  uint64_t now_ = 1;      // steps
  double allowance_ = 0;  // seconds that may be lost on finding out
  // Of a step that finds out: what it would take without a draft, and what was set aside for it.
  std::optional<Plan> explored_;
  double set_aside_ = 0;
  std::vector<Candidate> candidates_;
  std::vector<int> order_;  // whose draft grows next
};

}  // namespace lm
