#include "engine/runtime/speculation.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <utility>

namespace lm {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

Speculation::Speculation(const Instance& instance, SpeculationOptions options)
    : instance_(&instance), options_(std::move(options)) {
  const size_t n_seqs = size_t(instance.max_seqs());
  if (options_.drafter) policy_.emplace(*options_.drafter);
  proposals_.resize(n_seqs);
  choices_.reserve(n_seqs);
  tasks_.reserve(n_seqs);
  drafts_.reserve(n_seqs);
  buffer_.reserve(n_seqs + size_t(instance.max_step_logits()));
}

void Speculation::propose(std::span<const DecodingRow> rows, int prompt_rows, int max_rows,
                          bool launched) {
  const Clock::time_point start = Clock::now();
  prompt_rows_ = prompt_rows;
  for (size_t i = 0; i < rows.size(); ++i) proposals_[i].clear();
  choices_.assign(rows.size(), {});
  if (options_.drafter && !rows.empty()) {
    try {
      choose(rows, prompt_rows, max_rows);
      const auto wanted = [](const DraftChoice& choice) { return choice.length > 0; };
      const bool any = std::any_of(choices_.begin(), choices_.end(), wanted);
      const bool more_to_come = any && (launched || !policy_->exploring());
      n_quiet_ = more_to_come ? 0 : std::min(n_quiet_ + 1, kQuietSteps);
      if (any && !launched) ask(rows);
    } catch (const std::bad_alloc&) {
      // An answer needs no draft.
      for (const DecodingRow& row : rows) forget(row.sequence->id);
      for (std::vector<TokenId>& proposal : proposals_) proposal.clear();
    }
  }
  drafts_.clear();
  buffer_.clear();
  for (size_t i = 0; i < rows.size(); ++i) keep(rows[i], i);
  draft_seconds_ = std::chrono::duration<double>(Clock::now() - start).count();
}

void Speculation::choose(std::span<const DecodingRow> rows, int prompt_rows, int max_rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    const Sequence& sequence = *rows[i].sequence;
    DraftChoice& choice = choices_[i];
    choice.experience = &experience_[sequence.id];
    choice.outlook = options_.drafter->look(sequence.id, sequence.tokens);
    // The last token that may come needs no draft after it.
    choice.most = std::min(rows[i].most_tokens - 1, kMaxDraft);
  }
  if (options_.fixed_length == 0) return policy_->choose(choices_, prompt_rows, max_rows);
  for (DraftChoice& choice : choices_) {
    if (choice.outlook.draft_class < 0) continue;
    choice.length = std::max(0, std::min({options_.fixed_length, choice.most, max_rows}));
    max_rows -= choice.length;
  }
}

void Speculation::ask(std::span<const DecodingRow> rows) {
  tasks_.clear();
  for (size_t i = 0; i < rows.size(); ++i) {
    if (choices_[i].length < 1) continue;
    tasks_.push_back({.sequence = rows[i].sequence->id,
                      .history = rows[i].sequence->tokens,
                      .sampler = rows[i].sampler,
                      .length = choices_[i].length,
                      .draft = &proposals_[i]});
  }
  if (options_.drafter->draft(tasks_).ok()) return;
  for (std::vector<TokenId>& proposal : proposals_) proposal.clear();
  options_.drafter.reset();  // what it runs on has failed: the answers go on without
  policy_.reset();
}

// A draft is cut where it is longer than asked, leaves the vocabulary, or finds no free
// block: drafts never take one from a sequence.
void Speculation::keep(const DecodingRow& row, size_t i) {
  Sequence& sequence = *row.sequence;
  std::vector<TokenId>& proposal = proposals_[i];
  const int n_vocab = instance_->config().n_vocab;
  const auto outside = [n_vocab](TokenId id) { return id < 0 || id >= n_vocab; };
  const size_t valid =
      size_t(std::find_if(proposal.begin(), proposal.end(), outside) - proposal.begin());
  proposal.resize(std::min(valid, size_t(choices_[i].length)));
  const int n_tokens = int(sequence.tokens.size());
  if (!proposal.empty() &&
      !sequence.table.prepare(sequence.n_computed, n_tokens + int(proposal.size()))) {
    proposal.resize(size_t(std::max(0, sequence.table.writable() - n_tokens)));
  }
  const size_t first = buffer_.size();
  buffer_.push_back(sequence.tokens.back());
  buffer_.insert(buffer_.end(), proposal.begin(), proposal.end());
  drafts_.push_back(std::span(buffer_).subspan(first));
}

// Where steps run ahead they hide the host's time, but those with drafts don't: in front of these
// the device waits, and that is part of what they cost. Plain steps between drafts wait too, but
// would not if there were no drafts.
void Speculation::note_step(double seconds, double idle_seconds) {
  if (!policy_ || (drafts_.empty() && prompt_rows_ == 0)) return;
  const bool hidden = !instance_->runs_ahead() || (!has_drafts() && !quiet());
  if (!hidden) seconds += std::max(0.0, idle_seconds - draft_seconds_);
  policy_->note_step(int(buffer_.size()), prompt_rows_, seconds, draft_seconds_);
}

void Speculation::note_draft(size_t i, int accepted, bool refuted) {
  if (!policy_ || draft(i).empty()) return;
  policy_->note_draft(*choices_[i].experience, choices_[i].outlook.draft_class, accepted, refuted);
}

void Speculation::forget(uint64_t sequence) {
  if (options_.drafter) options_.drafter->forget(sequence);
  experience_.erase(sequence);
}

}  // namespace lm
