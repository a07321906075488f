// engine/runtime/speculation.h — drafts for the decoding sequences of a step. A decode row then
// carries 1 + k tokens and asks for the logits of all; the target draws its own token at each
// position and goes on to the next as long as that is the one that was drafted
// (Generation::advance). Leviathan, Kalman, Matias, arXiv:2211.17192, with the draw itself in place
// of a second coin: the token at a position is a pure function of logits, history and seed.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/core/token.h"
#include "engine/runtime/draft_policy.h"
#include "engine/runtime/drafter.h"
#include "engine/runtime/instance.h"
#include "engine/runtime/scheduler.h"

namespace lm {

// A sequence that decodes in the coming step.
struct DecodingRow {
  Sequence* sequence;
  const Sampler* sampler;
  int most_tokens;  // that may still come
};

class Speculation {
 public:
  Speculation(const Instance& instance, SpeculationOptions options);

  // Makes drafts of at most `max_rows` tokens in all, and room for them in the tables, for a step
  // that has `prompt_rows` rows besides. `launched`: it runs already, so that there are none.
  void propose(std::span<const DecodingRow> rows, int prompt_rows, int max_rows, bool launched);
  // What rows[i] of propose() feeds, its last token and the draft, until the next call.
  std::span<const TokenId> tokens(size_t i) const { return drafts_[i]; }
  std::span<const TokenId> draft(size_t i) const { return drafts_[i].subspan(1); }

  // Whether the step has no drafts, and the next one is likely to have none either: none was wanted
  // for some steps but to find out whether they pay. (One that is wanted by a step that has been
  // launched without comes one step late.)
  bool quiet() const { return !options_.drafter || (n_quiet_ >= kQuietSteps && !has_drafts()); }

  // How the step went: its time without the drafter's, and how long the device waited for the host
  // in front of it, the drafter included; of each draft, how much was right.
  void note_step(double seconds, double idle_seconds);
  void note_draft(size_t i, int accepted, bool refuted);
  void forget(uint64_t sequence);

  const Drafter* drafter() const { return options_.drafter.get(); }

 private:
  static constexpr int kQuietSteps = 4;

  bool has_drafts() const { return buffer_.size() > drafts_.size(); }
  void choose(std::span<const DecodingRow> rows, int prompt_rows, int max_rows);
  void ask(std::span<const DecodingRow> rows);
  void keep(const DecodingRow& row, size_t i);

  const Instance* instance_;
  SpeculationOptions options_;
  std::optional<DraftPolicy> policy_;                    // with a drafter
  std::unordered_map<uint64_t, Acceptance> experience_;  // by sequence
  std::vector<DraftChoice> choices_;
  std::vector<std::vector<TokenId>> proposals_;
  std::vector<DraftTask> tasks_;
  std::vector<TokenId> buffer_;  // of each row its last token and its draft
  std::vector<std::span<const TokenId>> drafts_;
  int prompt_rows_ = 0;
  int n_quiet_ = kQuietSteps;  // steps since a draft was wanted
  double draft_seconds_ = 0;   // of propose()
};

}  // namespace lm
