// engine/runtime/drafter.h — who guesses how a text goes on. A draft is only ever a guess: the
// target draws every token itself, and a draft that foresaw it has saved a forward pass. So nothing
// that a drafter does can change an answer, only how soon it comes.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/token.h"
#include "engine/runtime/step_times.h"
#include "engine/sample/sampler.h"

namespace lm {

inline constexpr int kDraftClasses = 8;

// What is known about a draft before it is made.
struct DraftOutlook {
  int draft_class = -1;  // drafts of one class do about as well, [0, kDraftClasses); -1: no draft
  int backlog = 0;       // tokens that a draft model has to read first
};

struct DraftTask {
  uint64_t sequence;                 // Sequence::id
  std::span<const TokenId> history;  // prompt and answer so far
  const Sampler* sampler;            // the target's, in its state after `history`
  int length;                        // tokens wanted, >= 1
  std::vector<TokenId>* draft;       // gets at most that many
};

class Drafter {
 public:
  virtual ~Drafter() = default;
  virtual std::string_view name() const = 0;  // "ngram", ...
  // Cheap: asked for each decoding sequence in each step.
  virtual DraftOutlook look(uint64_t sequence, std::span<const TokenId> history) = 0;
  virtual Status draft(std::span<const DraftTask> tasks) = 0;
  virtual void forget(uint64_t sequence) = 0;  // it has ended; may be unknown
  // How likely the token at `position` of a draft is right when those before it were: what to
  // assume before there is experience.
  virtual double prior(int draft_class, int position) const = 0;
  // Of its own forward passes; nullptr: drafts cost nothing worth counting.
  virtual const StepTimes* step_times() const { return nullptr; }
};

struct SpeculationOptions {
  std::unique_ptr<Drafter> drafter{};  // nullptr: plain decoding
  int fixed_length = 0;                // of every draft; 0: what pays
};

// Prompt lookup: where the end of the text has occurred before, it goes on as it did there.
// (A. Saxena, "Prompt lookup decoding", 2023)
std::unique_ptr<Drafter> make_ngram_drafter();

}  // namespace lm
